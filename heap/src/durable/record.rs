//! [`RecordBuilder`]: what one checkpoint makes durable, encoded while the world is stopped.
//!
//! The payload is a sequence of items. An item that names a zone makes it the current one, so that the frames that
//! follow cost a byte of flags, one or two bytes of distance, and their slots:
//!
//! ```text
//! ZONE      01 index number slot_bytes          a zone was created (slot_bytes 0: page runs)
//! ROOTS     02 count {name type size align addr}
//! SLOTS     03 zone slot_bytes/16               frames of this zone follow; the distance starts at frame 0
//! RUNS      04 zone                             runs and pages of this zone follow
//! RUN_NEW   10 first pages      RUN_FREE 11 first pages
//! PAGES     12 first pages {bytes}      ZEROS 13 first pages
//! frame     1aaddnnn distance [count] [slots | mask] [bitmap] {bytes}
//!             aa: bitmap 0 unchanged, 1 full, 2 empty, 3 follows    distance: from one past the frame before
//!             dd: dirty slots 0 list, 1 mask, 2 the whole page, 3 all slots    nnn: length of the list, 7: a byte follows
//! ```
//! Integers are varints, except the entries of a slot list (one byte) and masks (`mask_words` little-endian words).
//!
//! 1. The builder allocates nothing but its buffer, which the caller recycles from record to record.
//! 2. The first bytes of the buffer are kept free for the record's header, so that appending is one `pwrite`.
//! 3. *Suspects*, slots that may not have changed at all, are items like others, and the record holds them until [`Record::sift`] has left out those that had not.
//!    A run of them stands by itself: it names its zone, and so does what follows it. So it can be cut out.
//!
//! Must not: know files, epochs or checksums. Decoding is `items.rs`.

use super::bytes::{put_string, put_varint};
use super::format::RecordHeader;
use super::items::{Item, Items};
use crate::base::{Error, ErrorKind, FrameIndex, PAGE, Result, SlotLayout, SlotMask, ZoneIndex, ZoneKind, ZoneNumber};
use std::ops::Range;

pub(super) const OP_ZONE: u8 = 0x01;
pub(super) const OP_ROOTS: u8 = 0x02;
pub(super) const OP_SLOTS: u8 = 0x03;
pub(super) const OP_RUNS: u8 = 0x04;
pub(super) const OP_RUN_NEW: u8 = 0x10;
pub(super) const OP_RUN_FREE: u8 = 0x11;
pub(super) const OP_PAGES: u8 = 0x12;
pub(super) const OP_ZEROS: u8 = 0x13;
pub(super) const FRAME_FLAG: u8 = 0x80;
pub(super) const ALLOC_SHIFT: u32 = 5;
pub(super) const ALLOC_SAME: u8 = 0;
pub(super) const ALLOC_FULL: u8 = 1;
pub(super) const ALLOC_EMPTY: u8 = 2;
pub(super) const ALLOC_MASK: u8 = 3;
pub(super) const DIRTY_SHIFT: u32 = 3;
pub(super) const DIRTY_LIST: u8 = 0;
pub(super) const DIRTY_MASK: u8 = 1;
pub(super) const DIRTY_WHOLE: u8 = 2;
pub(super) const DIRTY_ALL: u8 = 3;
/// The list length that says that a byte with the real length follows.
pub(super) const LIST_LONG: u8 = 7;

/// A named entry point into the heap, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootEntry {
    /// The name that it is looked up by.
    pub name: String,
    /// The type's name and fingerprint, as the typed layer wrote it.
    pub type_name: String,
    /// Bytes of the value.
    pub size: u64,
    /// Alignment of the value.
    pub align: u64,
    /// Canonical address of the value.
    pub addr: u64,
}

/// The zone that the next frame or run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Current {
    None,
    Slots { zone: ZoneIndex, next: u32 },
    Runs(ZoneIndex),
}

/// Collects the changes of one checkpoint.
#[derive(Debug)]
pub struct RecordBuilder {
    buffer: Vec<u8>,
    current: Current,
    /// Runs of suspects, as bytes of `buffer`.
    suspects: Vec<Range<usize>>,
    /// What `current` is within the last of them.
    current_suspect: Current,
}

impl RecordBuilder {
    /// An empty record in `buffer`, whose contents are discarded and whose capacity is reused.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(RecordHeader::BYTES, 0);
        Self { buffer, current: Current::None, suspects: Vec::new(), current_suspect: Current::None }
    }

    /// A zone was created. Zones are numbered in order of creation, without gaps.
    pub fn zone(&mut self, index: ZoneIndex, number: ZoneNumber, kind: ZoneKind) {
        let slot_bytes = match kind {
            ZoneKind::Slots(layout) => layout.slot_bytes(),
            ZoneKind::Runs => 0,
        };
        self.buffer.push(OP_ZONE);
        for field in [u64::from(index.0), u64::from(number.0), slot_bytes as u64] {
            put_varint(&mut self.buffer, field);
        }
    }

    /// The root table changed and is now `roots`.
    pub fn roots(&mut self, roots: &[RootEntry]) {
        self.buffer.push(OP_ROOTS);
        put_roots(&mut self.buffer, roots);
    }

    /// Slots `dirty` of `frame` changed; `allocated` if the frame's bitmap changed. A frame whose bitmap becomes empty
    /// becomes zeros.
    ///
    /// # Safety
    /// * `bytes` is the start of the frame; its [`PAGE`] bytes are readable and nobody writes them during the call.
    /// * `dirty` holds no slot at or above `layout.slots()`.
    #[inline]
    pub unsafe fn frame(
        &mut self,
        zone: ZoneIndex,
        layout: SlotLayout,
        frame: FrameIndex,
        allocated: Option<&SlotMask>,
        dirty: &SlotMask,
        bytes: *const u8,
    ) {
        let all = SlotMask::first(layout.slots());
        debug_assert!(dirty.minus(&all).is_empty(), "dirty slots beyond the layout");
        let count = dirty.count();
        let flags = match count {
            _ if *dirty == all => DIRTY_ALL << DIRTY_SHIFT,
            _ if count as usize >= layout.mask_words() * 8 => DIRTY_MASK << DIRTY_SHIFT,
            _ => (count as u8).min(LIST_LONG),
        };
        self.frame_head(zone, layout, frame, allocated, flags);
        if flags >> DIRTY_SHIFT == DIRTY_LIST {
            if flags == LIST_LONG {
                self.buffer.push(count as u8);
            }
            self.buffer.extend(dirty.iter().map(|slot| slot.0 as u8));
        } else if flags >> DIRTY_SHIFT == DIRTY_MASK {
            self.mask(layout, dirty);
        }
        self.bitmap(layout, allocated);
        let slot_bytes = layout.slot_bytes();
        if flags >> DIRTY_SHIFT == DIRTY_ALL {
            // SAFETY: the slots of a layout fill at most PAGE bytes (`units::tests`), which the caller vouches for.
            self.buffer.extend_from_slice(unsafe {
                std::slice::from_raw_parts(bytes, usize::from(layout.slots()) * slot_bytes)
            });
            return;
        }
        self.buffer.reserve(count as usize * slot_bytes);
        for slot in dirty.iter() {
            // SAFETY: the caller vouches that `slot` is below `layout.slots()`; slots lie within the frame's PAGE bytes
            // (`units::tests`), for which the caller vouches, too.
            self.buffer
                .extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.add(layout.byte_of(slot)), slot_bytes) });
        }
    }

    /// Slots `dirty` of `frame` may have changed: see [`Record::sift`]. All of them were allocated at the last durable checkpoint, and nothing before this in the record is about them:
    /// they are compared with what was there before the record.
    ///
    /// # Safety
    /// As for [`frame`](Self::frame).
    #[inline]
    pub unsafe fn suspects(
        &mut self,
        zone: ZoneIndex,
        layout: SlotLayout,
        frame: FrameIndex,
        dirty: &SlotMask,
        bytes: *const u8,
    ) {
        let start = self.buffer.len();
        if self.suspects.last().is_none_or(|run| run.end != start) {
            self.suspects.push(start..start);
            self.current_suspect = Current::None;
        }
        self.current = self.current_suspect;
        // SAFETY: passed on.
        unsafe { self.frame(zone, layout, frame, None, dirty, bytes) };
        self.current_suspect = std::mem::replace(&mut self.current, Current::None);
        self.suspects.last_mut().expect("there is one since just now").end = self.buffer.len();
    }

    /// Like [`frame`](Self::frame), for heaps that track pages: all bytes of the frame may have changed.
    ///
    /// # Safety
    /// As for [`frame`](Self::frame).
    pub unsafe fn whole_frame(
        &mut self,
        zone: ZoneIndex,
        layout: SlotLayout,
        frame: FrameIndex,
        allocated: Option<&SlotMask>,
        bytes: *const u8,
    ) {
        self.frame_head(zone, layout, frame, allocated, DIRTY_WHOLE << DIRTY_SHIFT);
        self.bitmap(layout, allocated);
        // SAFETY: the caller vouches for PAGE bytes.
        self.buffer.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes, PAGE) });
    }

    /// A run of pages was allocated; its pages are zeros until [`pages`](Self::pages) says otherwise.
    pub fn run_allocated(&mut self, zone: ZoneIndex, first: FrameIndex, pages: u32) {
        self.run_item(OP_RUN_NEW, zone, first, pages);
    }

    /// Pages of a run were freed: the whole run, or a part of it (what is left of it on either side stays a run).
    /// They become zeros.
    pub fn run_freed(&mut self, zone: ZoneIndex, first: FrameIndex, pages: u32) {
        self.run_item(OP_RUN_FREE, zone, first, pages);
    }

    /// Pages of allocated runs have new contents.
    ///
    /// # Safety
    /// `pages * PAGE` bytes from `bytes` on are readable, and nobody writes them during the call.
    pub unsafe fn pages(&mut self, zone: ZoneIndex, first: FrameIndex, pages: u32, bytes: *const u8) {
        self.run_item(OP_PAGES, zone, first, pages);
        // SAFETY: the caller vouches for these bytes.
        self.buffer.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes, pages as usize * PAGE) });
    }

    /// Pages of allocated runs are now zeros.
    pub fn zero_pages(&mut self, zone: ZoneIndex, first: FrameIndex, pages: u32) {
        self.run_item(OP_ZEROS, zone, first, pages);
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the payload so far.
    pub fn len(&self) -> usize {
        self.buffer.len() - RecordHeader::BYTES
    }

    /// The finished record.
    pub fn finish(self) -> Record {
        Record { payload_len: self.len(), buffer: self.buffer, suspects: self.suspects }
    }

    #[inline]
    fn frame_head(
        &mut self,
        zone: ZoneIndex,
        layout: SlotLayout,
        frame: FrameIndex,
        allocated: Option<&SlotMask>,
        flags: u8,
    ) {
        let distance = match self.current {
            Current::Slots { zone: current, next } if current == zone && next <= frame.0 => frame.0 - next,
            _ => {
                self.buffer.push(OP_SLOTS);
                put_varint(&mut self.buffer, u64::from(zone.0));
                put_varint(&mut self.buffer, layout.slot_bytes() as u64 / 16);
                frame.0
            }
        };
        self.current = Current::Slots { zone, next: frame.0 + 1 };
        self.buffer.push(FRAME_FLAG | alloc_code(layout, allocated) << ALLOC_SHIFT | flags);
        put_varint(&mut self.buffer, u64::from(distance));
    }

    #[inline]
    fn bitmap(&mut self, layout: SlotLayout, allocated: Option<&SlotMask>) {
        if let Some(mask) = allocated
            && alloc_code(layout, allocated) == ALLOC_MASK
        {
            self.mask(layout, mask);
        }
    }

    fn mask(&mut self, layout: SlotLayout, mask: &SlotMask) {
        for word in &mask.words()[..layout.mask_words()] {
            self.buffer.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn run_item(&mut self, op: u8, zone: ZoneIndex, first: FrameIndex, pages: u32) {
        if self.current != Current::Runs(zone) {
            self.current = Current::Runs(zone);
            self.buffer.push(OP_RUNS);
            put_varint(&mut self.buffer, u64::from(zone.0));
        }
        self.buffer.push(op);
        put_varint(&mut self.buffer, u64::from(first.0));
        put_varint(&mut self.buffer, u64::from(pages));
    }
}

#[inline]
fn alloc_code(layout: SlotLayout, allocated: Option<&SlotMask>) -> u8 {
    match allocated {
        None => ALLOC_SAME,
        Some(mask) if mask.is_empty() => ALLOC_EMPTY,
        Some(mask) if *mask == SlotMask::first(layout.slots()) => ALLOC_FULL,
        Some(_) => ALLOC_MASK,
    }
}

/// Appends a root table, as records and catalogs hold it.
pub(super) fn put_roots(out: &mut Vec<u8>, roots: &[RootEntry]) {
    put_varint(out, roots.len() as u64);
    for root in roots {
        put_string(out, &root.name);
        put_string(out, &root.type_name);
        for field in [root.size, root.align, root.addr] {
            put_varint(out, field);
        }
    }
}

/// A finished record: room for its header, and the payload.
#[derive(Debug)]
pub struct Record {
    buffer: Vec<u8>,
    payload_len: usize,
    suspects: Vec<Range<usize>>,
}

impl Record {
    /// What the record holds, in the order in which it was added.
    pub fn items(&self) -> impl Iterator<Item = Result<Item<'_>>> {
        Items::new(self.payload()).map(|item| match item {
            Ok((_, item)) => Ok(item),
            Err((at, why)) => Err(Error::new(ErrorKind::Corrupt, format!("record: payload offset {at:#x}: {why}"))),
        })
    }

    /// Whether it has suspects that were not sifted yet.
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Leaves out what `changed` does not return of the suspects that it is called with: zone, layout, frame, slots, and the frame's bytes as far as they are those of
    /// these slots. Encodes into `spare`, and returns the buffer that is not needed any more. Those that are left are no suspects from then on.
    pub fn sift(
        &mut self,
        spare: Vec<u8>,
        mut changed: impl FnMut(ZoneIndex, SlotLayout, FrameIndex, &SlotMask, &[u8; PAGE]) -> SlotMask,
    ) -> Vec<u8> {
        if self.suspects.is_empty() {
            return spare;
        }
        let mut out = RecordBuilder::new(spare);
        out.buffer.reserve(self.buffer.len());
        let mut at = RecordHeader::BYTES;
        let mut page = [0; PAGE];
        for run in std::mem::take(&mut self.suspects) {
            out.buffer.extend_from_slice(&self.buffer[at..run.start]);
            out.current = Current::None;
            at = run.end;
            for item in Items::new(&self.buffer[run]) {
                let Ok((_, Item::Frame { zone, layout, frame, dirty, bytes, .. })) = item else {
                    unreachable!("a run of suspects holds frames, as `suspects` wrote them: {item:?}")
                };
                for (slot, bytes) in dirty.iter().zip(bytes.chunks_exact(layout.slot_bytes())) {
                    page[layout.byte_of(slot)..][..bytes.len()].copy_from_slice(bytes);
                }
                let changed = changed(zone, layout, frame, &dirty, &page).and(&dirty);
                if !changed.is_empty() {
                    // SAFETY: `page` has PAGE bytes and is borrowed; the slots are some of those that were decoded, and so within the layout.
                    unsafe { out.frame(zone, layout, frame, None, &changed, page.as_ptr()) };
                }
            }
        }
        out.buffer.extend_from_slice(&self.buffer[at..RecordHeader::BYTES + self.payload_len]);
        self.payload_len = out.len();
        std::mem::replace(&mut self.buffer, out.buffer)
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.payload_len
    }

    /// The buffer, for the next [`RecordBuilder::new`].
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[RecordHeader::BYTES..][..self.payload_len]
    }

    /// The whole record as it goes to the log: header (to be filled in), payload, padding.
    pub(super) fn framed(&mut self) -> &mut [u8] {
        let len = super::format::record_bytes(self.payload_len);
        self.buffer.resize(len, 0);
        &mut self.buffer
    }
}
