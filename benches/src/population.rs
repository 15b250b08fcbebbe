//! [`Population`]: a heap full of objects of one size, to be modified at random.
//!
//! Objects are allocated by hand ([`strewn::Section::alloc`]) and never freed, so every address here stays valid for as long as the heap is open; that is
//! what makes the accesses below sound. Addresses are kept outside of the heap, so that finding an object costs no access to one.

use crate::machine::settle;
use anyhow::{Context, Result};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use std::alloc::Layout;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;
use strewn::{CutReport, Heap, HeapOptions, Section, TrackerKind, Writes};

/// Objects allocated or modified in one section.
const OBJECTS_PER_SECTION: usize = 1000;
/// What new objects are filled with.
const FILL: u8 = 0x5A;

/// An open heap with objects of one size.
pub struct Population {
    heap: Heap,
    addresses: Vec<usize>,
    bytes: usize,
}

/// Which objects to touch, in which order.
pub type Picks = Vec<u32>;

/// What to write in `round`: neither what new objects are filled with nor what any of the last 254 rounds wrote, so that whoever compares sees a change.
pub fn stamp(round: usize) -> u8 {
    FILL.wrapping_add(1 + (round % 255) as u8)
}

/// The numbers of `objects` objects in a random order that depends on `seed` alone.
pub fn shuffled(objects: usize, seed: u64) -> Picks {
    let mut order: Picks = (0..objects as u32).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(seed));
    order
}

/// Modifications made durable.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// Seconds that the writes took.
    pub writing: f64,
    /// What the cut found.
    pub cut: CutReport,
    /// Seconds until all was durable, from the call of the checkpoint on.
    pub durable: f64,
}

impl Population {
    /// Creates a heap at `path`, whose objects are written by hand, and fills it; nothing is durable yet.
    pub fn create(path: &Path, options: &HeapOptions, objects: usize, bytes: usize) -> Result<Self> {
        let heap = options
            .clone()
            .writes(Writes::Hardware)
            .create(path)
            .with_context(|| format!("create {}", path.display()))?;
        let mut population = Self { heap, addresses: Vec::with_capacity(objects), bytes };
        population.grow(objects)?;
        Ok(population)
    }

    /// Allocates `more` objects and writes each.
    pub fn grow(&mut self, more: usize) -> Result<()> {
        let layout = Layout::from_size_align(self.bytes, 16)?;
        let mut left = more;
        while left > 0 {
            let section = self.heap.enter();
            for _ in 0..left.min(OBJECTS_PER_SECTION) {
                let object = section.alloc(layout)?;
                // SAFETY: the object was just allocated with this many bytes, and nobody else knows it.
                unsafe { object.as_ptr().write_bytes(FILL, self.bytes) };
                self.addresses.push(object.as_ptr().expose_provenance());
            }
            left = left.saturating_sub(OBJECTS_PER_SECTION);
        }
        Ok(())
    }

    /// Reserves memory for the addresses of `more` objects, so that the time of growing by them is the heap's alone.
    pub fn make_room(&mut self, more: usize) {
        let objects = self.objects();
        self.addresses.resize(objects + more, usize::MAX);
        self.addresses.truncate(objects);
    }

    /// The heap.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The tracker that watches it.
    pub fn tracker(&self) -> Result<TrackerKind> {
        Ok(self.heap.stats()?.tracker)
    }

    /// The addresses of the objects, in the order of allocation.
    pub fn addresses(&self) -> &[usize] {
        &self.addresses
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.addresses.len()
    }

    /// Bytes of each object.
    pub fn object_bytes(&self) -> usize {
        self.bytes
    }

    /// Where object `index` lies, to write to it inside `section`.
    ///
    /// # Panics
    /// If there is no such object.
    #[inline]
    pub fn object(&self, index: u32, _section: &Section<'_>) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.addresses[index as usize])
    }

    /// Writes all bytes of the objects `picks`, in sections of a thousand.
    pub fn modify(&self, picks: &[u32], stamp: u8) {
        for batch in picks.chunks(OBJECTS_PER_SECTION) {
            let section = self.heap.enter();
            for index in batch {
                // SAFETY: the object is live and has this many bytes; only this thread, which does not share them, writes objects of the population.
                unsafe { self.object(*index, &section).write_bytes(stamp, self.bytes) };
            }
        }
    }

    /// Makes what was written durable. Returns what the cut found, and the seconds until it was durable.
    pub fn checkpoint(&self) -> Result<(CutReport, f64)> {
        let start = Instant::now();
        let cut = self.heap.checkpoint()?;
        Ok((cut, start.elapsed().as_secs_f64()))
    }

    /// Writes all bytes of the objects `picks`, makes that durable, and waits until nothing runs in the background.
    pub fn modify_durably(&self, picks: &[u32], stamp: u8) -> Result<Checkpoint> {
        let start = Instant::now();
        self.modify(picks, stamp);
        let writing = start.elapsed().as_secs_f64();
        let (cut, durable) = self.checkpoint()?;
        settle(false)?;
        Ok(Checkpoint { writing, cut, durable })
    }

    /// Reads every object once, so that every page table entry is there.
    pub fn read_all(&self) {
        let section = self.heap.enter();
        for index in 0..self.addresses.len() as u32 {
            // SAFETY: the object is live and its bytes were written when it was allocated; a volatile read is not optimised out.
            unsafe { self.object(index, &section).read_volatile() };
        }
    }

    /// `count` different objects, at random.
    pub fn pick(&self, rng: &mut SmallRng, count: usize) -> Picks {
        self.pick_within(rng, 0..self.objects(), count)
    }

    /// `count` different objects out of `range`, at random.
    pub fn pick_within(&self, rng: &mut SmallRng, range: Range<usize>, count: usize) -> Picks {
        let picks = rand::seq::index::sample(rng, range.len(), count);
        picks.into_iter().map(|index| (range.start + index) as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_differ_from_the_filling_and_from_the_last_254() {
        let stamps: Vec<_> = (0..600).map(stamp).collect();
        assert!(!stamps.contains(&FILL));
        for window in stamps.windows(255) {
            assert_eq!(window.iter().collect::<std::collections::HashSet<_>>().len(), 255);
        }
    }
}
