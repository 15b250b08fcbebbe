//! [`Shadows`]: what hot and young lane-blocks, and a few cold ones, are compared with, to find out what was written without a fault.
//!
//! A shadow is either the bytes of the slots as of the last cut, or only their checksum. In a block of pages, slots that are not taken are left alone: their
//! frames may have been given back, and reading would fetch them. If one is taken later, it is new, and recorded for that; and at that cut it is looked at,
//! because only hot lane-blocks of pages have a shadow. In a huge page all slots are looked at: a cold lane-block is not looked at when one of its
//! slots is taken, and must know what was in it. Bytes cost as much as the slots; so all of them together
//! may take an eighth of the zone's memory, and those that are being filled, which always have them, half a megabyte more.

use super::policy::Room;
use crate::arena::page_address;
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneBlock, PAGE, SlotLayout, ZoneNumber};
use crate::sys;
use std::collections::HashMap;

/// Of the zone's memory, one part in so many may be taken by shadows. Half of that is kept for counting.
const SHARE: u64 = 8;
/// Slots that are on their way to the cache while the ones before them are looked at.
const PREFETCH: u32 = 8;

/// What is remembered of a lane-block.
enum Shadow {
    Sum(u32),
    Bytes(Box<[u8]>),
}

impl Shadow {
    fn bytes(&self) -> u64 {
        match self {
            Shadow::Sum(_) => 0,
            Shadow::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// The shadows of one zone.
#[derive(Default)]
pub struct Shadows {
    of: HashMap<LaneBlock, Shadow>,
    bytes: u64,
    /// Of lane-blocks that are being filled.
    exempt: u64,
    /// For tests: the system has no memory.
    #[cfg(test)]
    pub starved: bool,
}

/// Where lane-blocks are looked at: through the dense lane, while the world is stopped.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The zone.
    pub zone: ZoneNumber,
    /// Its layout.
    pub layout: SlotLayout,
    /// The masks of taken slots.
    pub taken: &'a [u64],
    /// Whether slots that are not taken are looked at as well: where the block is a huge page, and has memory for all of them.
    pub all: bool,
}

impl View<'_> {
    /// The bytes of each slot of `at` that is looked at, with its place in the lane-block, in the order of frames.
    ///
    /// # Safety
    /// The frames of the block are mapped, and nobody writes them for as long as the slices are used.
    unsafe fn slots(&self, at: LaneBlock) -> impl Iterator<Item = (usize, &[u8])> {
        let last = at.frames().end - 1;
        at.frames().filter_map(move |frame| {
            sys::prefetch(sys::ptr(self.address(at, (frame + PREFETCH).min(last))));
            // SAFETY: passed on.
            unsafe { self.slot(at, frame) }
        })
    }

    /// The bytes of the slot of `at` in `frame`, with its place in the lane-block, if it is looked at.
    ///
    /// # Safety
    /// As for [`View::slots`].
    unsafe fn slot(&self, at: LaneBlock, frame: u32) -> Option<(usize, &[u8])> {
        let (slot, words) = (at.slot().index(), self.layout.mask_words());
        if !self.all && self.taken[frame as usize * words + slot / 64] & (1 << (slot % 64)) == 0 {
            return None;
        }
        let bytes = sys::ptr(self.address(at, frame)).cast_const();
        // SAFETY: the caller vouches for the frame, and a slot lies within its frame; every byte of a memfd is initialised.
        Some(((frame - at.frames().start) as usize, unsafe { std::slice::from_raw_parts(bytes, self.slot_bytes()) }))
    }

    fn address(&self, at: LaneBlock, frame: u32) -> u64 {
        page_address(self.zone, FrameIndex(frame)) + self.layout.byte_of(at.slot()) as u64
    }

    fn slot_bytes(&self) -> usize {
        self.layout.slot_bytes()
    }

    /// Bytes of all slots of a lane-block.
    fn lane_block_bytes(&self) -> usize {
        self.slot_bytes() * BLOCK_FRAMES as usize
    }

    /// # Safety
    /// As for [`View::slots`].
    unsafe fn sum(&self, at: LaneBlock) -> u32 {
        // SAFETY: passed on.
        unsafe { self.slots(at) }.fold(0, |sum, (_, bytes)| crc32c::crc32c_append(sum, bytes))
    }
}

/// What a look at a lane-block found.
pub enum Look {
    /// So many of its slots have changed, and were told.
    Compared(u16),
    /// Some slot has changed, or none.
    Summed {
        /// Whether one has.
        changed: bool,
    },
    /// There is nothing to compare with.
    Unknown,
}

impl Shadows {
    /// The room that there is for the bytes of `at` in a zone of `frames` frames.
    pub fn room(&self, at: LaneBlock, view: &View<'_>, frames: u32) -> Room {
        let room = u64::from(frames) * PAGE as u64 / SHARE;
        let others = self.bytes - self.of.get(&at).map_or(0, Shadow::bytes);
        let taken = others.saturating_sub(self.exempt) + view.lane_block_bytes() as u64;
        match taken {
            // Under Miri, bytes that the program left uninitialised may not be looked at.
            _ if cfg!(miri) => Room::None,
            taken if taken <= room / 2 => Room::Compare,
            taken if taken <= room => Room::Count,
            _ => Room::None,
        }
    }

    /// The lane-blocks that are being filled: what they take is not taken from the others.
    pub fn exempt(&mut self, filling: &[LaneBlock]) {
        self.exempt = filling.iter().filter_map(|at| self.of.get(at)).map(Shadow::bytes).sum();
    }

    /// Remembers the bytes of `at`, if they are not remembered; its checksum, if the system has no memory.
    ///
    /// # Safety
    /// The frames of the block are mapped, and nobody writes them meanwhile.
    pub unsafe fn keep_bytes(&mut self, at: LaneBlock, view: &View<'_>) {
        let len = view.lane_block_bytes();
        if matches!(self.of.get(&at), Some(Shadow::Bytes(_))) {
            return;
        }
        let mut bytes = Vec::new();
        #[cfg(test)]
        let len = if self.starved { usize::MAX } else { len };
        if cfg!(miri) || bytes.try_reserve_exact(len).is_err() {
            // SAFETY: passed on.
            return unsafe { self.keep_sum(at, view) };
        }
        bytes.resize(len, 0);
        // SAFETY: passed on.
        for (place, slot) in unsafe { view.slots(at) } {
            bytes[place * slot.len()..][..slot.len()].copy_from_slice(slot);
        }
        self.bytes += len as u64;
        self.of.insert(at, Shadow::Bytes(bytes.into()));
    }

    /// Remembers the checksum of `at`, if there is none.
    ///
    /// # Safety
    /// As for [`Shadows::keep_bytes`].
    pub unsafe fn keep_sum(&mut self, at: LaneBlock, view: &View<'_>) {
        if matches!(self.of.get(&at), Some(Shadow::Sum(_))) {
            return;
        }
        self.drop(at);
        // SAFETY: passed on.
        let sum = if cfg!(miri) { 0 } else { unsafe { view.sum(at) } };
        self.of.insert(at, Shadow::Sum(sum));
    }

    /// Compares `at` with what is remembered, tells `changed` of each slot that differs (if bytes are), and remembers what it is now.
    ///
    /// # Safety
    /// As for [`Shadows::keep_bytes`].
    pub unsafe fn look(&mut self, at: LaneBlock, view: &View<'_>, mut changed: impl FnMut(FrameIndex)) -> Look {
        match self.of.get_mut(&at) {
            None => Look::Unknown,
            Some(Shadow::Sum(_)) if cfg!(miri) => Look::Summed { changed: true },
            Some(Shadow::Sum(before)) => {
                // SAFETY: passed on.
                let now = unsafe { view.sum(at) };
                let changed = std::mem::replace(before, now) != now;
                Look::Summed { changed }
            }
            Some(Shadow::Bytes(before)) => {
                let mut count = 0;
                // SAFETY: passed on.
                for (place, now) in unsafe { view.slots(at) } {
                    let before = &mut before[place * now.len()..][..now.len()];
                    if before != now {
                        before.copy_from_slice(now);
                        changed(FrameIndex(at.frames().start + place as u32));
                        count += 1;
                    }
                }
                Look::Compared(count)
            }
        }
    }

    /// Remembers what the slots of `at` in `frames` are now, if its bytes are remembered. A slot that is not looked at stays what it was: if it is taken later, it is new.
    ///
    /// # Safety
    /// As for [`Shadows::keep_bytes`].
    pub unsafe fn keep_up(&mut self, at: LaneBlock, view: &View<'_>, frames: impl Iterator<Item = FrameIndex>) {
        let Some(Shadow::Bytes(before)) = self.of.get_mut(&at) else { return };
        for frame in frames {
            // SAFETY: passed on.
            if let Some((place, now)) = unsafe { view.slot(at, frame.0) } {
                before[place * now.len()..][..now.len()].copy_from_slice(now);
            }
        }
    }

    /// Whether something is remembered of `at`.
    pub fn has(&self, at: LaneBlock) -> bool {
        self.of.contains_key(&at)
    }

    /// Whether its bytes are.
    pub fn has_bytes(&self, at: LaneBlock) -> bool {
        matches!(self.of.get(&at), Some(Shadow::Bytes(_)))
    }

    /// Forgets `at`.
    pub fn drop(&mut self, at: LaneBlock) {
        self.bytes -= self.of.remove(&at).map_or(0, |shadow| shadow.bytes());
    }

    /// Bytes that are remembered.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory that the shadows take.
    pub fn memory_bytes(&self) -> usize {
        self.bytes as usize + self.of.capacity() * size_of::<(LaneBlock, Shadow)>()
    }
}
