//! [`Cache`]: a thread's private stock of slots, so that allocating and freeing cost a few instructions.
//!
//! A slot in a cache is taken from its zone but not allocated; a cut tells the two apart by looking into the caches (ledger, L2).
//! Any thread's cache holds slots of any zone of the class, so freeing another thread's object needs no message to it.

use super::classes::{CLASSES, Class};
use crate::base::Mistake;

/// Slots fetched from, or returned to, the zone at a time. The length of the longest run of frames, so that a fresh batch is a whole lane-run.
pub const BATCH: usize = if cfg!(any(loom, shuttle)) { 2 } else { 64 };
/// A bin that holds this many gives a batch back.
const BIN_MAX: usize = 2 * BATCH;

/// One size class of a cache.
#[derive(Default)]
pub struct Bin {
    slots: Vec<u64>,
    /// What lay here at the last cut.
    at_cut: Vec<u64>,
    /// Whether a slot came or went since the last cut.
    used: bool,
}

impl Bin {
    /// Takes the slot that was put here last.
    #[inline]
    pub fn pop(&mut self) -> Option<u64> {
        let slot = self.slots.pop()?;
        self.used = true;
        Some(slot)
    }

    /// Puts a slot here. True if the bin is full and wants [`Bin::drain_batch`].
    #[inline]
    pub fn push(&mut self, slot: u64) -> bool {
        if !Mistake::CacheLosesFreed.is_made() {
            self.slots.push(slot);
        }
        self.used = true;
        self.slots.len() >= BIN_MAX
    }

    /// Where a refill goes: the last one pushed is the first one popped.
    pub fn refill(&mut self) -> &mut Vec<u64> {
        self.used = true;
        &mut self.slots
    }

    /// Takes out the batch that has lain here longest.
    pub fn drain_batch(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.used = true;
        let batch = BATCH.min(self.slots.len());
        if Mistake::CacheKeepsBatch.is_made() {
            self.slots.extend_from_within(..batch);
        }
        self.slots.drain(..batch)
    }

    /// If a slot came or went since the last cut, takes out what lay here then. First half of settling: all caches of a heap do it before any does
    /// the second, because a slot may have moved from one to another.
    pub fn take_at_cut(&mut self) -> impl Iterator<Item = u64> + '_ {
        let end = if self.used || Mistake::CutForgetsRest.is_made() { self.at_cut.len() } else { 0 };
        self.at_cut.drain(..end)
    }

    /// If a slot came or went since the last cut, what lies here now. Second half of settling; starts the next epoch.
    pub fn note_cut(&mut self) -> &[u64] {
        if !self.used {
            return &[];
        }
        self.used = false;
        self.at_cut.clone_from(&self.slots);
        &self.slots
    }

    /// How many slots lie here.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

/// A thread's stock, one bin for each size class.
pub struct Cache {
    bins: [Bin; CLASSES],
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        Self { bins: std::array::from_fn(|_| Bin::default()) }
    }

    /// The bin of `class`.
    #[inline]
    pub fn bin(&mut self, class: Class) -> &mut Bin {
        &mut self.bins[class.index()]
    }

    /// The slots of all bins.
    pub fn slots(&self) -> impl Iterator<Item = u64> + '_ {
        self.bins.iter().flat_map(|bin| bin.slots.iter().copied())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn settling_tells_what_lay_here_and_what_does_and_only_after_use() {
        let mut bin = Bin::default();
        bin.push(16);
        bin.push(32);
        assert_eq!(bin.take_at_cut().count(), 0);
        assert_eq!(bin.note_cut(), [16, 32]);
        assert_eq!(bin.take_at_cut().count(), 0);
        assert_eq!(bin.note_cut(), []);
        assert_eq!(bin.pop(), Some(32));
        assert!(bin.take_at_cut().eq([16, 32]));
        assert_eq!(bin.note_cut(), [16]);
    }

    #[test]
    fn a_full_bin_gives_back_the_oldest() {
        let mut bin = Bin::default();
        let full = (0..BIN_MAX as u64).map(|i| bin.push(i * 16)).position(|full| full);
        assert_eq!(full, Some(BIN_MAX - 1));
        assert!(bin.drain_batch().eq((0..BATCH as u64).map(|i| i * 16)));
        assert_eq!(bin.len(), BIN_MAX - BATCH);
    }
}
