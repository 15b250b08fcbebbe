//! Cuts that fail or are lost: what they had found must be in the next record.

use super::{CutState, RootTable, Threads};
use crate::alloc::{Allocator, Cache};
use crate::base::sync::Mutex;
use crate::base::{Epoch, ErrorKind, PAGE, Result};
use crate::durable::{Addressing, Catalog, Item, Record};
use crate::sys;
use crate::track::fixtures::{Failing, Fuses, NEVER};
use crate::track::{self, TrackerKind};
use std::alloc::Layout;
use std::sync::Arc;

struct Lab {
    allocator: Allocator,
    fuses: Arc<Fuses>,
    threads: Threads,
    roots: Mutex<RootTable>,
    cuts: CutState,
    cache: Cache,
}

impl Lab {
    fn new(seed: u8) -> Self {
        let fuses = Arc::<Fuses>::default();
        let inner = track::open(TrackerKind::Signal).unwrap();
        let tracker = Box::new(Failing { inner, fuses: fuses.clone() });
        Self {
            allocator: Allocator::new([seed; 16], Addressing::Lanes, tracker, Default::default()).unwrap(),
            fuses,
            threads: Threads::new(),
            roots: Mutex::new(RootTable::default()),
            cuts: CutState::recover(Epoch(0), &Catalog::default()),
            cache: Cache::new(),
        }
    }

    fn alloc(&mut self, bytes: usize) -> u64 {
        self.allocator.alloc(&mut self.cache, Layout::from_size_align(bytes, 16).unwrap()).unwrap()
    }

    fn write(&self, addr: u64, value: u8) {
        // SAFETY: the address was allocated here, and nobody refers to it.
        unsafe { sys::ptr(addr).write(value) };
    }

    fn cut(&mut self) -> Result<Record> {
        let (_, builder) = self.cuts.cut(&self.allocator, &self.threads, &self.roots, Vec::new())?;
        Ok(builder.finish())
    }

    fn owe(&mut self, record: Record) {
        self.cuts.owe(&[record], &self.allocator, &self.roots);
    }
}

fn pages_of(record: &Record) -> Vec<(u32, u8)> {
    let pages = record.items().filter_map(|item| match item.unwrap() {
        Item::Pages { first, bytes, .. } => Some((first.0, bytes[0])),
        _ => None,
    });
    pages.collect()
}

#[test]
fn what_a_failed_scan_had_found_is_in_the_next_record() {
    let mut lab = Lab::new(21);
    let run = lab.alloc(3 * PAGE);
    let slot = lab.alloc(64);
    lab.write(run, 1);
    lab.write(slot, 1);
    lab.cut().unwrap();
    lab.write(run + PAGE as u64, 7);
    // The zone of runs is harvested first, then a lane of slots fails.
    lab.fuses.harvest.set(1);
    assert_eq!(lab.cut().unwrap_err().kind(), ErrorKind::OutOfMemory);
    lab.fuses.harvest.set(NEVER);
    assert_eq!(pages_of(&lab.cut().unwrap()), [(1, 7)]);
    assert!(lab.cut().unwrap().payload_len() == 0, "nothing was written since");
}

#[test]
fn a_lost_record_is_told_again_with_todays_contents() {
    let mut lab = Lab::new(22);
    let (run, slot) = (lab.alloc(2 * PAGE), lab.alloc(64));
    lab.write(run, 1);
    lab.write(slot, 1);
    let lost = lab.cut().unwrap();
    lab.owe(lost);
    lab.write(run, 2);
    lab.write(slot, 2);
    let live = lab.cuts.live();
    let again = lab.cut().unwrap();
    let mut zones = 0;
    let mut slots = Vec::new();
    for item in again.items() {
        match item.unwrap() {
            Item::Zone { .. } => zones += 1,
            Item::Frame { allocated: Some(_), bytes, .. } => slots.extend(bytes.chunks(64).map(|slot| slot[0])),
            _ => {}
        }
    }
    // The rest of the batch counts as allocated here, because this cache is no thread's.
    assert_eq!((zones, slots[0], pages_of(&again)), (2, 2, vec![(0, 2)]));
    assert_eq!(live.objects, 1 + slots.len() as u64);
    assert_eq!(lab.cuts.live().objects, live.objects, "counted once");
}

#[test]
fn a_free_that_was_lost_is_told_again_and_counted_once() {
    let mut lab = Lab::new(23);
    let run = lab.alloc(2 * PAGE);
    lab.cut().unwrap();
    lab.allocator.free(&mut lab.cache, run);
    let lost = lab.cut().unwrap();
    lab.owe(lost);
    let again = lab.cut().unwrap();
    let freed = again.items().filter(|item| matches!(item, Ok(Item::RunFreed { pages: 2, .. }))).count();
    assert_eq!((freed, lab.cuts.live().objects), (1, 0));
}

#[test]
fn after_a_panic_in_a_cut_no_checkpoint_is_accepted() {
    let mut cuts = CutState::recover(Epoch(0), &Catalog::default());
    cuts.begin().unwrap();
    cuts.end();
    cuts.begin().unwrap();
    assert_eq!(cuts.begin().unwrap_err().kind(), ErrorKind::Poisoned);
}
