//! Writers whose faults are served beside harvests: each write is told of by the harvest that comes after it, or runs beside it and is told of by that
//! one or the next.

use super::*;
use crate::base::models::{Model, size};
use crate::base::sync::{Mutex, lock, thread};
use crate::base::{PAGE_SHIFT, ZONE_SHIFT};
use std::sync::Arc;

/// A page, with its protection. Whoever writes checks it and stores in one step, as the processor does: mprotect ends when no other sees the old one.
#[derive(Clone, Copy, Default)]
struct Page {
    writable: bool,
    value: u64,
}

/// Some tracked pages of one zone.
struct Memory {
    zone: &'static ZoneMarks,
    range: Range<u64>,
    pages: Vec<Mutex<Page>>,
    /// What harvests told of.
    image: Mutex<Vec<u64>>,
}

impl Memory {
    /// `pages` pages, armed.
    fn new(pages: u64) -> Arc<Self> {
        SPLITS_MAX.store(1 << 60, Ordering::Relaxed);
        let base = 1 << ZONE_SHIFT;
        let range = base..base + (pages << PAGE_SHIFT);
        let zone = marks::claim(&range, 1).unwrap();
        zone.add(&(0..pages));
        let (cells, image) = ((0..pages).map(|_| Mutex::default()).collect(), vec![0; pages as usize]);
        let memory = Arc::new(Self { zone, range, pages: cells, image: Mutex::new(image) });
        memory.harvest();
        memory
    }

    fn protect(&self, addresses: Range<u64>, writable: bool) -> Result<(), i32> {
        for page in self.zone.pages_of(&addresses) {
            lock(&self.pages[page as usize]).writable = writable;
        }
        Ok(())
    }

    /// Stores `value` in `page`, as a program does: what faults is tried again.
    fn write(&self, page: usize, value: u64) {
        loop {
            let mut cell = lock(&self.pages[page]);
            if cell.writable {
                cell.value = value;
                return;
            }
            drop(cell);
            let fault = self.zone.addresses(&(page as u64..page as u64 + 1)).start;
            assert!(serve(self.zone, fault, |pages| self.protect(pages, true)), "a fault was not served");
        }
    }

    /// One harvest, that copies what it is told of.
    fn harvest(&self) {
        let mut told = |addresses: Range<u64>| {
            for page in self.zone.pages_of(&addresses) {
                let value = lock(&self.pages[page as usize]).value;
                lock(&self.image)[page as usize] = value;
            }
        };
        harvest(self.zone, self.range.clone(), |span| self.protect(span, false), &mut told).unwrap();
    }

    /// Whether the harvests have told of all that was written.
    fn check(&self) {
        let written: Vec<u64> = self.pages.iter().map(|page| lock(page).value).collect();
        assert!(*lock(&self.image) == written, "a write was lost");
    }

    fn writer(self: &Arc<Self>, writes: Vec<(usize, u64)>) -> thread::JoinHandle<()> {
        let memory = self.clone();
        thread::spawn(move || writes.into_iter().for_each(|(page, value)| memory.write(page, value)))
    }
}

/// `writers` write to `pages` pages, `writes` times each, beside `harvests`; one more tells of what is left.
fn beside(writers: usize, pages: usize, writes: usize, harvests: usize) {
    let memory = Memory::new(pages as u64);
    let writers: Vec<_> = (0..writers)
        .map(|i| memory.writer((0..writes).map(|n| ((i + n) % pages, (i * 100 + n + 1) as u64)).collect()))
        .collect();
    (0..harvests).for_each(|_| memory.harvest());
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    memory.harvest();
    memory.check();
}

#[test]
fn a_write_beside_a_harvest_is_told_of_by_it_or_by_the_next() {
    Model::new("signal tracker, a writer and a harvest", || beside(1, 1, size(1, 6), size(1, 4)))
        .holds()
        .loom_rejects(Mistake::MarksBeforeOpening, "a write was lost")
        .rejects(Mistake::ArmsBeforeTaking, "a write was lost");
    Model::new("signal tracker, two pages of a word", || beside(size(1, 3), 2, size(2, 6), size(1, 4)))
        .preemptions(5)
        .holds()
        .rejects(Mistake::SummaryClearedLast, "a write was lost");
}

/// Two threads write to one page, and one of them may find it open while the other's fault is still being served. What the first wrote is told of by
/// the harvest after it, which waits for that handler.
fn after(harvests: usize) {
    let memory = Memory::new(1);
    let other = memory.writer(vec![(0, 1)]);
    for value in 2..2 + harvests as u64 {
        memory.write(0, value);
        memory.harvest();
        let copied = lock(&memory.image)[0];
        assert!(copied == value || copied == 1, "a write was told of too late");
    }
    other.join().unwrap();
    memory.harvest();
    memory.check();
}

#[test]
fn a_write_before_a_harvest_is_told_of_by_it() {
    Model::new("signal tracker, two writers of a page", || after(size(1, 4)))
        .preemptions(5)
        .holds()
        .rejects(Mistake::HarvestWaitsForNobody, "a write was told of too late");
    Model::new("signal tracker, two harvests", || after(2))
        .preemptions(5)
        .holds()
        .loom_rejects(Mistake::HarvestWaitsForOnePhase, "a write was told of too late");
}
