//! [`Ledger`]: what the next record must say about one zone of slots.
//!
//! Invariants (L1-L3 are what makes a record complete):
//! - L1. `cut` holds the allocation state of the last cut, one bit a slot.
//! - L2. A slot's allocation differs from `cut` only if its frame is in `changed`: every slot that changes hands passes through a thread cache,
//!   and whoever moves slots into or out of a cache (refill, flush), or finds them there at a cut, notes the frame.
//! - L3. `dirty` bits are set only for frames in `touched`, and are cleared only by the cut that records them.

use crate::base::{Canary, FrameIndex, FrameSet, SlotIndex, SlotLayout, SlotMask, canary};
use std::ops::Range;

/// Bit per slot and set of frames, for one zone.
pub struct Ledger {
    words: usize,
    /// Slots that lay in a thread cache at the last cut: taken, but not allocated.
    cached: Vec<u64>,
    /// Slots allocated as of the last cut (L1).
    cut: Vec<u64>,
    /// Slots written since the last cut, as far as it is known yet (L3).
    dirty: Vec<u64>,
    /// Frames with dirty slots.
    pub touched: FrameSet,
    /// Frames whose allocation may differ from `cut` (L2).
    pub changed: FrameSet,
    /// Frames whose bitmap must be recorded whatever `cut` says: the record that held it was lost.
    pub owed: FrameSet,
}

/// What a record must say about one frame.
#[derive(Debug, PartialEq, Eq)]
pub struct FrameDelta {
    /// The slots that are allocated, if that changed.
    pub allocated: Option<SlotMask>,
    /// The slots to copy: allocated, and written or newly allocated.
    pub dirty: SlotMask,
    /// The slots to copy of which it is not known whether they were written. They were allocated at the last cut whose record was not lost.
    pub suspects: SlotMask,
    /// How many more slots are allocated than at the last cut.
    pub live_change: i64,
}

impl Ledger {
    /// A ledger for frames that were cut like `layout` says.
    pub fn new(layout: SlotLayout) -> Self {
        Self {
            words: layout.mask_words(),
            cached: Vec::new(),
            cut: Vec::new(),
            dirty: Vec::new(),
            touched: FrameSet::default(),
            changed: FrameSet::default(),
            owed: FrameSet::default(),
        }
    }

    /// Makes room for `frames` frames, the new ones empty.
    pub fn grow(&mut self, frames: u32) {
        let words = frames as usize * self.words;
        for column in [&mut self.cached, &mut self.cut, &mut self.dirty] {
            column.resize(words.max(column.len()), 0);
        }
    }

    /// Takes the allocation state of a recovered heap for that of the last cut.
    pub fn recover(&mut self, allocated: &[u64]) {
        self.cut[..allocated.len()].copy_from_slice(allocated);
    }

    /// Notes that `slot` was written.
    #[inline]
    pub fn mark_dirty(&mut self, frame: FrameIndex, slot: SlotIndex) {
        self.dirty[frame.index() * self.words + slot.index() / 64] |= 1 << (slot.index() % 64);
        self.touched.insert(frame);
    }

    /// Notes that `slot` was written in each of `frames`.
    pub fn mark_slot_dirty(&mut self, frames: Range<u32>, slot: SlotIndex) {
        frames.for_each(|frame| self.mark_dirty(FrameIndex(frame), slot));
    }

    /// Notes that all slots in `mask` were written.
    pub fn mark_all_dirty(&mut self, frame: FrameIndex, mask: &SlotMask) {
        let start = frame.index() * self.words;
        for (bits, more) in self.dirty[start..start + self.words].iter_mut().zip(mask.words()) {
            *bits |= more;
        }
        self.touched.insert(frame);
    }

    /// Notes that `frame` has become zeros. A slot that was allocated at the last cut and is again at the next has other bytes, and nobody wrote them.
    pub fn mark_emptied(&mut self, frame: FrameIndex) {
        let before = SlotMask::from_words(&self.cut[frame.index() * self.words..][..self.words]);
        if !before.is_empty() {
            self.mark_all_dirty(frame, &before);
        }
    }

    /// Says whether `slot` lies in a thread cache as of this cut.
    #[inline]
    pub fn set_cached(&mut self, frame: FrameIndex, slot: SlotIndex, cached: bool) {
        let word = &mut self.cached[frame.index() * self.words + slot.index() / 64];
        let bit = 1 << (slot.index() % 64);
        *word = if cached { *word | bit } else { *word & !bit };
        self.changed.insert(frame);
    }

    /// Takes what is to be recorded about `frame`, given the slots `taken` from the zone, and moves the frame's state to this cut. Those in `suspects` may be marked
    /// without having been written.
    pub fn settle(&mut self, frame: FrameIndex, taken: &[u64], suspects: &SlotMask) -> FrameDelta {
        let range = frame.index() * self.words..(frame.index() + 1) * self.words;
        let cached = SlotMask::from_words(&self.cached[range.clone()]);
        let before = SlotMask::from_words(&self.cut[range.clone()]);
        let written = SlotMask::from_words(&self.dirty[range.clone()]);
        let allocated = SlotMask::from_words(taken).minus(&cached);
        self.cut[range.clone()].copy_from_slice(&allocated.words()[..self.words]);
        self.dirty[range].fill(0);
        let tell = allocated != before || self.owed.contains(frame);
        // If the record that had the frame's bitmap was lost, `before` is newer than what is durable.
        let suspects = if self.owed.contains(frame) {
            SlotMask::EMPTY
        } else {
            written.and(suspects).and(&before).and(&allocated)
        };
        let new = allocated.minus(&before);
        FrameDelta {
            allocated: tell.then(|| {
                let lost = canary(Canary::AllocationBitLost).then(|| new.iter().last()).flatten();
                lost.map_or(allocated, |slot| allocated.minus(&SlotMask::from_iter([slot])))
            }),
            dirty: written.or(&new).and(&allocated).minus(&suspects),
            suspects,
            live_change: i64::from(allocated.count()) - i64::from(before.count()),
        }
    }

    /// Every frame that a record must look at, in ascending order.
    pub fn frames_to_settle(&mut self) -> Vec<FrameIndex> {
        self.changed.absorb(&self.touched);
        self.changed.absorb(&self.owed);
        self.changed.iter().collect()
    }

    /// Forgets the frame sets, after a cut that settled every frame in them.
    pub fn close_epoch(&mut self) {
        self.touched.clear();
        self.changed.clear();
        self.owed.clear();
    }

    /// Bytes of memory that the ledger takes.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.cached.capacity() + self.cut.capacity() + self.dirty.capacity();
        columns * 8 + self.touched.memory_bytes() + self.changed.memory_bytes() + self.owed.memory_bytes()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn mask(slots: &[u16]) -> SlotMask {
        slots.iter().map(|s| SlotIndex(*s)).collect()
    }

    #[test]
    fn a_new_slot_is_copied_even_if_nobody_saw_it_written() {
        let mut ledger = Ledger::new(SlotLayout::new(64).unwrap());
        ledger.grow(2);
        let delta = ledger.settle(FrameIndex(1), &mask(&[3, 9]).words()[..1], &SlotMask::EMPTY);
        assert_eq!(
            delta,
            FrameDelta {
                allocated: Some(mask(&[3, 9])),
                dirty: mask(&[3, 9]),
                suspects: SlotMask::EMPTY,
                live_change: 2
            }
        );
        let again = ledger.settle(FrameIndex(1), &mask(&[3, 9]).words()[..1], &SlotMask::EMPTY);
        assert_eq!(
            again,
            FrameDelta { allocated: None, dirty: SlotMask::EMPTY, suspects: SlotMask::EMPTY, live_change: 0 }
        );
    }

    #[test]
    fn cached_slots_are_not_allocated_and_written_free_slots_not_copied() {
        let mut ledger = Ledger::new(SlotLayout::new(16).unwrap());
        ledger.grow(1);
        let frame = FrameIndex(0);
        ledger.set_cached(frame, SlotIndex(200), true);
        ledger.mark_dirty(frame, SlotIndex(200));
        ledger.mark_dirty(frame, SlotIndex(5));
        let taken = mask(&[5, 200]);
        assert_eq!(
            ledger.settle(frame, taken.words(), &SlotMask::EMPTY),
            FrameDelta { allocated: Some(mask(&[5])), dirty: mask(&[5]), suspects: SlotMask::EMPTY, live_change: 1 }
        );
        ledger.set_cached(frame, SlotIndex(200), false);
        assert_eq!(ledger.settle(frame, taken.words(), &SlotMask::EMPTY).dirty, mask(&[200]));
    }

    /// What the image has of it may be from before it was freed.
    #[test]
    fn a_slot_that_was_new_in_a_lost_record_is_no_suspect() {
        let mut ledger = Ledger::new(SlotLayout::new(64).unwrap());
        ledger.grow(1);
        let (frame, both) = (FrameIndex(0), mask(&[1, 2]));
        ledger.settle(frame, &mask(&[2]).words()[..1], &SlotMask::EMPTY);
        let lost = ledger.settle(frame, &both.words()[..1], &both);
        assert_eq!((lost.dirty, lost.suspects), (mask(&[1]), SlotMask::EMPTY));
        ledger.mark_all_dirty(frame, &lost.dirty);
        ledger.owed.insert(frame);
        ledger.mark_all_dirty(frame, &both);
        let delta = ledger.settle(frame, &both.words()[..1], &both);
        assert_eq!((delta.dirty, delta.suspects), (both, SlotMask::EMPTY));
        ledger.close_epoch();
        ledger.mark_all_dirty(frame, &both);
        assert_eq!(ledger.settle(frame, &both.words()[..1], &mask(&[2])).suspects, mask(&[2]));
    }

    #[test]
    fn an_owed_bitmap_is_told_again() {
        let mut ledger = Ledger::new(SlotLayout::new(2048).unwrap());
        ledger.grow(1);
        let taken = mask(&[1]);
        ledger.settle(FrameIndex(0), &taken.words()[..1], &SlotMask::EMPTY);
        ledger.owed.insert(FrameIndex(0));
        ledger.mark_all_dirty(FrameIndex(0), &taken);
        let delta = ledger.settle(FrameIndex(0), &taken.words()[..1], &SlotMask::EMPTY);
        assert_eq!(
            delta,
            FrameDelta { allocated: Some(taken), dirty: taken, suspects: SlotMask::EMPTY, live_change: 0 }
        );
    }
}
