//! [`Items`]: reading a record's payload back, whatever bytes it holds.
//!
//! 1. Decoding is total: any bytes give items or one error, after which the iterator ends. Nothing panics, and
//!    nothing is allocated that the payload's own length does not justify.
//! 2. An item that is returned is sound by itself: slots below the layout's count, frames below the zone's capacity,
//!    as many bytes as the item needs. Whether it fits the catalog is `catalog.rs`'s question.
//!
//! The encoding is described in `record.rs`, which owns it.

use super::bytes::{Malformed, Reader};
use super::record::*;
use crate::base::{
    FrameIndex, PAGE, SlotIndex, SlotLayout, SlotMask, ZONE_FRAMES, ZONE_PAGES, ZoneIndex, ZoneKind, ZoneNumber,
};

/// One change, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the argument of the same name of the builder's method")]
pub enum Item<'a> {
    /// See [`RecordBuilder::zone`].
    Zone { index: ZoneIndex, number: ZoneNumber, kind: ZoneKind },
    /// See [`RecordBuilder::roots`].
    Roots(Vec<RootEntry>),
    /// See [`RecordBuilder::frame`]; `bytes` are those of the dirty slots one after the other, or of the `whole` frame.
    Frame {
        zone: ZoneIndex,
        layout: SlotLayout,
        frame: FrameIndex,
        allocated: Option<SlotMask>,
        dirty: SlotMask,
        whole: bool,
        bytes: &'a [u8],
    },
    /// See [`RecordBuilder::run_allocated`].
    RunAllocated { zone: ZoneIndex, first: FrameIndex, pages: u32 },
    /// See [`RecordBuilder::run_freed`].
    RunFreed { zone: ZoneIndex, first: FrameIndex, pages: u32 },
    /// See [`RecordBuilder::pages`].
    Pages { zone: ZoneIndex, first: FrameIndex, bytes: &'a [u8] },
    /// See [`RecordBuilder::zero_pages`].
    ZeroPages { zone: ZoneIndex, first: FrameIndex, pages: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Current {
    None,
    Slots { zone: ZoneIndex, layout: SlotLayout, next: u64 },
    Runs(ZoneIndex),
}

/// Iterates over a payload; yields each item with the offset at which it starts.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    reader: Reader<'a>,
    current: Current,
    failed: bool,
}

impl<'a> Items<'a> {
    /// The items of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { reader: Reader::at(payload, 0), current: Current::None, failed: false }
    }

    fn item(&mut self, op: u8) -> Result<Option<Item<'a>>, Malformed> {
        match (op, self.current) {
            (OP_ZONE, _) => zone(&mut self.reader).map(Some),
            (OP_ROOTS, _) => Ok(Some(Item::Roots(roots(&mut self.reader)?))),
            (OP_SLOTS, _) => {
                let zone = ZoneIndex(self.reader.small()?);
                let layout = layout(self.reader.small::<u16>()?.checked_mul(16))?;
                self.current = Current::Slots { zone, layout, next: 0 };
                Ok(None)
            }
            (OP_RUNS, _) => {
                self.current = Current::Runs(ZoneIndex(self.reader.small()?));
                Ok(None)
            }
            (OP_RUN_NEW | OP_RUN_FREE | OP_PAGES | OP_ZEROS, Current::Runs(zone)) => self.run_item(op, zone).map(Some),
            (FRAME_FLAG.., Current::Slots { zone, layout, next }) => {
                let body = FrameBody::decode(&mut self.reader, op, layout)?;
                let frame = next.saturating_add(body.distance);
                if frame >= u64::from(ZONE_FRAMES) {
                    return Err(Malformed("a frame lies beyond the end of its zone"));
                }
                self.current = Current::Slots { zone, layout, next: frame + 1 };
                let FrameBody { allocated, dirty, whole, bytes, .. } = body;
                Ok(Some(Item::Frame { zone, layout, frame: FrameIndex(frame as u32), allocated, dirty, whole, bytes }))
            }
            _ => Err(Malformed("unknown item, or an item without its zone")),
        }
    }

    fn run_item(&mut self, op: u8, zone: ZoneIndex) -> Result<Item<'a>, Malformed> {
        let first = FrameIndex(self.reader.small()?);
        let pages: u32 = self.reader.small()?;
        if pages == 0 || u64::from(first.0) + u64::from(pages) > u64::from(ZONE_PAGES) {
            return Err(Malformed("a run of pages is empty or ends beyond its zone"));
        }
        Ok(match op {
            OP_RUN_NEW => Item::RunAllocated { zone, first, pages },
            OP_RUN_FREE => Item::RunFreed { zone, first, pages },
            OP_ZEROS => Item::ZeroPages { zone, first, pages },
            _ => Item::Pages { zone, first, bytes: self.reader.take(pages as usize * PAGE)? },
        })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<(usize, Item<'a>), (usize, Malformed)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed && self.reader.remaining() > 0 {
            let at = self.reader.position();
            let item = self.reader.byte().and_then(|op| self.item(op));
            match item {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok((at, item))),
                Err(why) => {
                    self.failed = true;
                    return Some(Err((at, why)));
                }
            }
        }
        None
    }
}

/// A frame item without its context, so that it can be decoded again from its offset alone.
#[derive(Clone, Copy, Debug)]
pub struct FrameBody<'a> {
    pub distance: u64,
    pub allocated: Option<SlotMask>,
    pub dirty: SlotMask,
    pub whole: bool,
    pub bytes: &'a [u8],
}

impl<'a> FrameBody<'a> {
    /// Decodes what follows the flags byte `op`.
    pub fn decode(reader: &mut Reader<'a>, op: u8, layout: SlotLayout) -> Result<Self, Malformed> {
        let distance = reader.varint()?;
        let (kind, list) = (op >> DIRTY_SHIFT & 3, op & 7);
        if kind != DIRTY_LIST && list != 0 {
            return Err(Malformed("unknown flags of a frame"));
        }
        let all = SlotMask::first(layout.slots());
        let dirty = match kind {
            DIRTY_LIST => slot_list(reader, list, layout)?,
            DIRTY_MASK => mask(reader, layout)?,
            _ => all,
        };
        let allocated = match op >> ALLOC_SHIFT & 3 {
            ALLOC_SAME => None,
            ALLOC_FULL => Some(all),
            ALLOC_EMPTY => Some(SlotMask::EMPTY),
            _ => Some(mask(reader, layout)?),
        };
        let whole = kind == DIRTY_WHOLE;
        let len = if whole { PAGE } else { dirty.count() as usize * layout.slot_bytes() };
        Ok(Self { distance, allocated, dirty, whole, bytes: reader.take(len)? })
    }

    /// Overwrites `frame`, of [`PAGE`] bytes, with what the item says.
    pub fn apply(&self, layout: SlotLayout, frame: &mut [u8]) {
        if self.allocated.is_some_and(|mask| mask.is_empty()) {
            frame.fill(0);
        } else if self.whole {
            frame.copy_from_slice(self.bytes);
        } else {
            for (slot, bytes) in self.dirty.iter().zip(self.bytes.chunks_exact(layout.slot_bytes())) {
                frame[layout.byte_of(slot)..][..layout.slot_bytes()].copy_from_slice(bytes);
            }
        }
    }
}

fn slot_list(reader: &mut Reader<'_>, list: u8, layout: SlotLayout) -> Result<SlotMask, Malformed> {
    let count = if list == LIST_LONG { reader.byte()? } else { list };
    let mut dirty = SlotMask::EMPTY;
    let mut least = 0;
    for &slot in reader.take(count.into())? {
        if u16::from(slot) < least || u16::from(slot) >= layout.slots() {
            return Err(Malformed("a slot is out of order or beyond the layout"));
        }
        dirty.insert(SlotIndex(slot.into()));
        least = u16::from(slot) + 1;
    }
    Ok(dirty)
}

fn mask(reader: &mut Reader<'_>, layout: SlotLayout) -> Result<SlotMask, Malformed> {
    let mut words = [0; 4];
    for word in &mut words[..layout.mask_words()] {
        *word = reader.fixed()?;
    }
    let mask = SlotMask::from_words(&words);
    if !mask.minus(&SlotMask::first(layout.slots())).is_empty() {
        return Err(Malformed("a mask has slots beyond the layout"));
    }
    Ok(mask)
}

fn layout(slot_bytes: Option<u16>) -> Result<SlotLayout, Malformed> {
    slot_bytes.and_then(SlotLayout::new).ok_or(Malformed("not a slot size"))
}

fn zone<'a>(reader: &mut Reader<'_>) -> Result<Item<'a>, Malformed> {
    let index = ZoneIndex(reader.small()?);
    let number = ZoneNumber(reader.small()?);
    Ok(Item::Zone { index, number, kind: zone_kind(reader.small()?)? })
}

/// The zone kind that is stored as its slot size, 0 for page runs.
pub fn zone_kind(slot_bytes: u16) -> Result<ZoneKind, Malformed> {
    match slot_bytes {
        0 => Ok(ZoneKind::Runs),
        _ => Ok(ZoneKind::Slots(layout(Some(slot_bytes))?)),
    }
}

/// Reads a root table that `put_roots` wrote.
pub fn roots(reader: &mut Reader<'_>) -> Result<Vec<RootEntry>, Malformed> {
    let count = reader.varint()?;
    let mut roots = Vec::new();
    for _ in 0..count {
        roots.push(RootEntry {
            name: reader.string()?.to_owned(),
            type_name: reader.string()?.to_owned(),
            size: reader.varint()?,
            align: reader.varint()?,
            addr: reader.varint()?,
        });
    }
    Ok(roots)
}
