//! [`Image`]: the contents of the zone files, checked, with the log's changes on top.
//!
//! The image on disk is M(g) (see `superblock.rs`), or, where the fold of the sealed segment G was under way, any mixture
//! of M(g) and M(g+1):
//!
//! 1. A frame that G does not touch matches its checksum in M(g).
//! 2. A frame that G touches matches its checksum in M(g), or is old, new or torn; it then differs from the new one only in
//!    bytes that G's patches write, so that patching gives the new one, which must match its checksum in M(g+1).
//!    (M(g+1) is durable before the first frame is written.)
//! 3. A frame without an allocated slot in M(g), and a page in no run of M(g), counts as zeros: its bytes are not read.
//! 4. Pages of runs that the log touches are replaced as wholes, and their bytes in the image are not read either.
//!
//! Must not: write.

use std::ops::Range;
use std::sync::Arc;

use super::catalog::{Catalog, ZoneCatalog};
use super::format::*;
use super::overlay::{Overlay, Pages};
use super::storage::{Storage, StorageFile, must_open, read_zero_filled};
use crate::base::{Error, FrameIndex, PAGE, Result, SlotLayout, ZoneIndex, ZoneKind};

/// Where [`Image::load`] delivers bytes: zone, byte in zone, bytes.
pub type Sink<'a> = &'a mut dyn FnMut(ZoneIndex, u64, &[u8]) -> Result<()>;

/// The image and what goes on top of it.
pub struct Image<'a> {
    /// Of the zones that `base` knows.
    files: Vec<Arc<dyn StorageFile>>,
    base: &'a Catalog,
    next: Option<&'a Catalog>,
    overlay: &'a Overlay<'a>,
}

impl<'a> Image<'a> {
    /// The image described by `base`; `next` is M(g+1), if it is whole and the segment at the front of `overlay` is
    /// sealed.
    pub fn new(
        storage: &dyn Storage,
        base: &'a Catalog,
        next: Option<&'a Catalog>,
        overlay: &'a Overlay<'a>,
    ) -> Result<Self> {
        let files = (0..base.zones.len()).map(|zone| must_open(storage, &names::zone(zone))).collect::<Result<_>>()?;
        Ok(Self { files, base, next, overlay })
    }

    /// Fills `buf` with the frames from `first` on, as they are after all patches. Frames that are used, or all of those
    /// that the overlay touches, are checked; `touched_only` skips the check of the others.
    pub fn frames(
        &self,
        zone: ZoneIndex,
        layout: SlotLayout,
        first: u32,
        touched_only: bool,
        buf: &mut [u8],
    ) -> Result<()> {
        let count = (buf.len() / PAGE) as u32;
        let used = |frame| self.base.zones.get(zone.index()).is_some_and(|z| !z.mask(FrameIndex(frame)).is_empty());
        if (first..first + count).any(used) {
            read_zero_filled(&*self.files[zone.index()], u64::from(first) * PAGE as u64, buf)?;
        } else {
            buf.fill(0);
        }
        for (frame, bytes) in (first..).zip(buf.chunks_exact_mut(PAGE)) {
            let patches = self.overlay.patches(zone, frame, frame + 1);
            if !used(frame) {
                bytes.fill(0);
            }
            let checked = used(frame) && !(touched_only && patches.is_empty());
            let old = !checked || crc32c::crc32c(bytes) == self.base.zones[zone.index()].crc(FrameIndex(frame));
            let (sealed, later) = patches.split_at(patches.partition_point(|patch| patch.segment == 0));
            sealed.iter().try_for_each(|patch| self.overlay.apply(patch, layout, bytes))?;
            if !old && (sealed.is_empty() || !self.is_new(zone, frame, bytes)) {
                return Err(self.damaged(zone, frame));
            }
            later.iter().try_for_each(|patch| self.overlay.apply(patch, layout, bytes))?;
        }
        Ok(())
    }

    /// Whether `bytes` are what M(g+1) has; of a frame without an allocated slot nothing matters.
    fn is_new(&self, zone: ZoneIndex, frame: u32, bytes: &[u8]) -> bool {
        let frame = FrameIndex(frame);
        self.next.and_then(|next| next.zones.get(zone.index())).is_some_and(|next| {
            next.crc(frame) == if next.mask(frame).is_empty() { ZERO_PAGE_CRC } else { crc32c::crc32c(bytes) }
        })
    }

    fn damaged(&self, zone: ZoneIndex, frame: u32) -> Error {
        let offset = u64::from(frame) * PAGE as u64;
        Error::corrupt(self.files[zone.index()].path(), offset, "the frame does not match its checksum")
    }

    /// Delivers everything that `last`, the catalog after all changes, says is allocated.
    pub fn load(&self, last: &Catalog, sink: Sink<'_>) -> Result<()> {
        for (index, zone) in last.zones.iter().enumerate() {
            let index = ZoneIndex(index as u16);
            match zone.kind {
                ZoneKind::Slots(layout) => self.load_slots(index, layout, last, sink)?,
                ZoneKind::Runs => self.load_runs(index, last, sink)?,
            }
        }
        Ok(())
    }

    fn load_slots(&self, index: ZoneIndex, layout: SlotLayout, last: &Catalog, sink: Sink<'_>) -> Result<()> {
        let zone = &last.zones[index.index()];
        let base = self.base.zones.get(index.index());
        let mut buf = vec![0; CHUNK_FRAMES as usize * PAGE];
        for first in (0..zone.frames).step_by(CHUNK_FRAMES as usize) {
            let end = zone.frames.min(first + CHUNK_FRAMES);
            let used = |frame| !zone.mask(FrameIndex(frame)).is_empty();
            let was_used = |frame| base.is_some_and(|base| !base.mask(FrameIndex(frame)).is_empty());
            if !(first..end).any(|frame| used(frame) || was_used(frame)) {
                continue;
            }
            let chunk = &mut buf[..(end - first) as usize * PAGE];
            self.frames(index, layout, first, false, chunk)?;
            let mut frame = first;
            while frame < end {
                let run = (frame..end).take_while(|&f| used(f)).count() as u32;
                if run > 0 {
                    let bytes = &chunk[(frame - first) as usize * PAGE..][..run as usize * PAGE];
                    sink(index, u64::from(frame) * PAGE as u64, bytes)?;
                }
                frame += run + 1;
            }
        }
        Ok(())
    }

    fn load_runs(&self, index: ZoneIndex, last: &Catalog, sink: Sink<'_>) -> Result<()> {
        for (&first, &pages) in &last.zones[index.index()].runs {
            self.overlay.for_each_range(index, first, first + pages, |page, count, contents| match contents {
                Pages::Zeros => Ok(()),
                Pages::Bytes(bytes) => sink(index, u64::from(page) * PAGE as u64, bytes),
                Pages::Image => self.load_pages(index, page, count, sink),
            })?;
        }
        Ok(())
    }

    /// Pages that only the image has. Holes are not read, so that a large object costs what was touched of it.
    fn load_pages(&self, index: ZoneIndex, first: u32, count: u32, sink: Sink<'_>) -> Result<()> {
        let Some(base) = self.base.zones.get(index.index()) else { return Ok(()) };
        let end = first + count;
        let mut at = first;
        while at < end {
            let bytes = u64::from(at) * PAGE as u64..u64::from(end) * PAGE as u64;
            let data = self.files[index.index()].next_data(bytes)?;
            let data = (data.start / PAGE as u64) as u32..data.end.div_ceil(PAGE as u64) as u32;
            if let Some(page) = (at..data.start).find(|page| base.crc(FrameIndex(*page)) != ZERO_PAGE_CRC) {
                return Err(self.damaged(index, page));
            }
            self.load_data_pages(index, data.clone(), base, sink)?;
            at = data.end;
        }
        Ok(())
    }

    fn load_data_pages(&self, index: ZoneIndex, pages: Range<u32>, base: &ZoneCatalog, sink: Sink<'_>) -> Result<()> {
        let mut buf = vec![0; (CHUNK_FRAMES as usize).min(pages.len()) * PAGE];
        for page in pages.clone().step_by(CHUNK_FRAMES as usize) {
            let bytes = &mut buf[..CHUNK_FRAMES.min(pages.end - page) as usize * PAGE];
            let offset = u64::from(page) * PAGE as u64;
            read_zero_filled(&*self.files[index.index()], offset, bytes)?;
            for (page, bytes) in (page..).zip(bytes.chunks_exact(PAGE)) {
                if crc32c::crc32c(bytes) != base.crc(FrameIndex(page)) {
                    return Err(self.damaged(index, page));
                }
            }
            sink(index, offset, bytes)?;
        }
        Ok(())
    }
}
