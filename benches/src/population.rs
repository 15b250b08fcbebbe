//! [`Population`]: a heap full of objects of one size, to be modified at random.
//!
//! Objects are allocated by hand ([`strewn::Section::alloc`]) and never freed, so every address here stays valid for as long as the heap is open; that is
//! what makes the accesses below sound. Addresses are kept outside of the heap, so that finding an object costs no access to one.

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use std::alloc::Layout;
use std::path::Path;
use std::time::Instant;
use strewn::{CutReport, Heap, HeapOptions, Section, TrackerKind};

/// Objects allocated or modified in one section.
const OBJECTS_PER_SECTION: usize = 1000;

/// An open heap with objects of one size.
pub struct Population {
    heap: Heap,
    addresses: Vec<usize>,
    bytes: usize,
}

/// Which objects to touch, in which order.
pub type Picks = Vec<u32>;

impl Population {
    /// Creates a heap at `path` and fills it; nothing is durable yet.
    pub fn create(path: &Path, options: &HeapOptions, objects: usize, bytes: usize) -> Result<Self> {
        let heap = options.create(path).with_context(|| format!("create {}", path.display()))?;
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
                unsafe { object.as_ptr().write_bytes(0x5A, self.bytes) };
                self.addresses.push(object.as_ptr().expose_provenance());
            }
            left = left.saturating_sub(OBJECTS_PER_SECTION);
        }
        Ok(())
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
        let picks = rand::seq::index::sample(rng, self.objects(), count);
        picks.into_iter().map(|index| index as u32).collect()
    }
}
