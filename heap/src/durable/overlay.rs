//! [`Overlay`]: the changes of one or two log segments, found by place instead of by time.
//!
//! 1. Patches of one frame are applied in log order, so that the latest wins. A frame whose bitmap became empty is
//!    zeros from there on; later patches apply to zeros.
//! 2. Pages of runs are replaced as wholes: of each page only the latest source is kept. A freed or newly allocated page
//!    is zeros.
//! 3. Memory: the segments' bytes, 24 bytes a frame item, and a few words a range of pages.

use std::collections::BTreeMap;

use super::bytes::Reader;
use super::items::{FrameBody, Item};
use super::segment::Segment;
use crate::base::{Error, FrameIndex, PAGE, Result, SlotLayout, ZoneIndex};

/// One frame item: where to find it. Ordered by place, then by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FramePatch {
    zone: ZoneIndex,
    pub frame: FrameIndex,
    /// Which segment of the overlay.
    pub segment: u8,
    /// Byte of the segment at which the item starts.
    offset: usize,
}

/// Where the contents of a range of pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Zeros,
    Log { segment: u8, offset: usize },
}

/// The end (page) of a range, and its source.
#[derive(Clone, Copy, Debug)]
struct Span {
    end: u32,
    source: Source,
}

/// Contents of a range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages<'a> {
    /// Not in the overlay: the image has them.
    Image,
    Zeros,
    Bytes(&'a [u8]),
}

/// Changes by place.
#[derive(Debug)]
pub struct Overlay<'a> {
    segments: &'a [Segment],
    patches: Vec<FramePatch>,
    pages: BTreeMap<ZoneIndex, BTreeMap<u32, Span>>,
}

impl<'a> Overlay<'a> {
    /// The changes of `segments`, oldest first. `check` sees each item first, in log order, and may refuse it.
    pub fn new(segments: &'a [Segment], mut check: impl FnMut(&Item<'_>) -> Result<(), String>) -> Result<Self> {
        let mut overlay = Self { segments, patches: Vec::new(), pages: BTreeMap::new() };
        for (number, segment) in segments.iter().enumerate() {
            segment.for_each_item(|offset, item| {
                check(item)?;
                overlay.add(number as u8, &segment.bytes, offset, item);
                Ok(())
            })?;
        }
        overlay.patches.sort_unstable();
        Ok(overlay)
    }

    fn add(&mut self, segment: u8, bytes: &[u8], offset: usize, item: &Item<'_>) {
        match *item {
            Item::Zone { .. } | Item::Roots(_) => {}
            Item::Frame { zone, frame, .. } => self.patches.push(FramePatch { zone, frame, segment, offset }),
            Item::RunAllocated { zone, first, pages }
            | Item::RunFreed { zone, first, pages }
            | Item::ZeroPages { zone, first, pages } => self.set(zone, first.0, pages, Source::Zeros),
            Item::Pages { zone, first, bytes: contents } => {
                let offset = contents.as_ptr().addr() - bytes.as_ptr().addr();
                self.set(zone, first.0, (contents.len() / PAGE) as u32, Source::Log { segment, offset });
            }
        }
    }

    /// Replaces `pages` pages from `first` on.
    fn set(&mut self, zone: ZoneIndex, first: u32, pages: u32, source: Source) {
        let spans = self.pages.entry(zone).or_default();
        let end = first + pages;
        split(spans, first);
        split(spans, end);
        while let Some((&start, _)) = spans.range(first..end).next() {
            spans.remove(&start);
        }
        spans.insert(first, Span { end, source });
    }

    /// The frame items of `zone` from frame `first` to below frame `end`, by frame, then in log order.
    pub fn patches(&self, zone: ZoneIndex, first: u32, end: u32) -> &[FramePatch] {
        let from = self.patches.partition_point(|p| (p.zone, p.frame.0) < (zone, first));
        let to = self.patches.partition_point(|p| (p.zone, p.frame.0) < (zone, end));
        &self.patches[from..to]
    }

    /// Applies one item to the bytes of its frame.
    pub fn apply(&self, patch: &FramePatch, layout: SlotLayout, frame: &mut [u8]) -> Result<()> {
        let segment = &self.segments[usize::from(patch.segment)];
        let mut reader = Reader::at(&segment.bytes, patch.offset);
        let body = reader.byte().and_then(|op| FrameBody::decode(&mut reader, op, layout));
        body.map_err(|why| Error::corrupt(&segment.path, patch.offset as u64, why))?.apply(layout, frame);
        Ok(())
    }

    /// Calls `f` with consecutive ranges that make up the pages from `first` to below `end`: first page, number of
    /// pages, contents.
    pub fn for_each_range(
        &self,
        zone: ZoneIndex,
        first: u32,
        end: u32,
        mut f: impl FnMut(u32, u32, Pages<'a>) -> Result<()>,
    ) -> Result<()> {
        let Some(spans) = self.pages.get(&zone) else { return f(first, end - first, Pages::Image) };
        let mut page = first;
        while page < end {
            let here = spans.range(..=page).next_back().filter(|(_, span)| span.end > page);
            let until = match here {
                Some((_, span)) => span.end.min(end),
                None => spans.range(page..end).next().map_or(end, |(start, _)| *start),
            };
            let contents = here.map_or(Pages::Image, |(start, span)| self.contents(*start, span.source, page, until));
            f(page, until - page, contents)?;
            page = until;
        }
        Ok(())
    }

    /// Calls `f` with each changed range of `zone`, ascending.
    pub fn for_each_change<E>(
        &self,
        zone: ZoneIndex,
        mut f: impl FnMut(u32, u32, Pages<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (&start, span) in self.pages.get(&zone).into_iter().flatten() {
            f(start, span.end - start, self.contents(start, span.source, start, span.end))?;
        }
        Ok(())
    }

    fn contents(&self, start: u32, source: Source, page: u32, end: u32) -> Pages<'a> {
        match source {
            Source::Zeros => Pages::Zeros,
            Source::Log { segment, offset } => {
                let from = offset + (page - start) as usize * PAGE;
                Pages::Bytes(&self.segments[usize::from(segment)].bytes[from..][..(end - page) as usize * PAGE])
            }
        }
    }
}

/// Makes sure that no span reaches across the start of `page`.
fn split(spans: &mut BTreeMap<u32, Span>, page: u32) {
    if let Some((&start, span)) = spans.range_mut(..page).next_back()
        && span.end > page
    {
        let source = match span.source {
            Source::Zeros => Source::Zeros,
            Source::Log { segment, offset } => Source::Log { segment, offset: offset + (page - start) as usize * PAGE },
        };
        let rest = Span { end: span.end, source };
        span.end = page;
        spans.insert(page, rest);
    }
}
