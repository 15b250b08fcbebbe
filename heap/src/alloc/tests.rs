//! The allocator as a whole: addresses, alignment, conservation.

#[cfg(not(any(miri, strewn_twin)))]
mod refused;
mod zones;

use super::*;
use crate::ladder::PolicyKind;
use crate::sys::huge_lanes;
use crate::sys::probe::{Feature, skip};
use crate::track::{self, TrackerKind};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn allocator(how: Addressing) -> Allocator {
    let kind = if how == Addressing::Lanes { TrackerKind::Signal } else { TrackerKind::Page };
    let kind = if track::open(kind).is_ok() { kind } else { TrackerKind::Signal };
    Allocator::new([7; 16], how, track::open(kind).unwrap(), Default::default()).unwrap()
}

fn request(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn fresh_slots_are_neighbours_by_fours_and_come_in_order() {
    let (allocator, mut cache) = (allocator(Addressing::Lanes), Cache::new());
    let objects: Vec<u64> = (0..33).map(|_| allocator.alloc(&mut cache, request(64, 8)).unwrap()).collect();
    let first = objects[0];
    assert_eq!(objects[3] - first, 3 * ((1 << 30) + 64), "the slots of a frame, each in its lane");
    assert_eq!(objects[4] - first, PAGE as u64, "then the same of the next frame");
    assert_eq!(objects[32] - first, 4 * ((1 << 30) + 64), "after the run's eight frames, the next lanes");
    assert_eq!(allocator.usable_bytes(first), Some(64));
    assert_eq!(allocator.usable_bytes(first + 8), None);
}

#[test]
fn a_full_zone_is_followed_by_another() {
    let (allocator, mut cache) = (allocator(Addressing::Lanes), Cache::new());
    if ZONE_PAGES > 4096 {
        return; // Only the twin's zones are small enough to fill.
    }
    for _ in 0..3 * 2 * crate::base::ZONE_FRAMES {
        allocator.alloc(&mut cache, request(2048, 16)).unwrap();
    }
    assert!(allocator.seats().len() >= 3);
    allocator.check();
}

#[test]
fn requests_too_large_for_a_zone_are_refused_by_size() {
    let (allocator, mut cache) = (allocator(Addressing::Lanes), Cache::new());
    let e = allocator.alloc(&mut cache, request(1 << 50, 8)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::HeapFull);
    assert!(e.to_string().contains("1125899906842624"), "{e}");
}

/// Bytes of memory behind `allocator`, in blocks.
fn blocks(allocator: &Allocator) -> u64 {
    let block = u64::from(crate::base::BLOCK_FRAMES) * PAGE as u64;
    allocator.memory_bytes().unwrap().1.div_ceil(block)
}

/// All that is freed is given back here, as by a thread that ends.
#[test]
fn a_block_goes_back_to_the_system_with_its_last_object() {
    const BLOCK_OBJECTS: usize = 16 * crate::base::BLOCK_FRAMES as usize;
    if let Feature::Missing(why) = huge_lanes() {
        return skip(&format!("lanes mapped by huge pages: {why}"));
    }
    let tracker = match track::open(TrackerKind::Async) {
        Ok(tracker) => tracker,
        Err(e) => return skip(&e.to_string()),
    };
    let ladder = (Mapping::Huge, PolicyKind::Adaptive);
    let (allocator, mut cache) = (Allocator::new([8; 16], Addressing::Lanes, tracker, ladder).unwrap(), Cache::new());
    let alloc = |cache: &mut Cache, count: usize| -> Vec<u64> {
        let mut objects: Vec<u64> = (0..count).map(|_| allocator.alloc(cache, request(256, 16)).unwrap()).collect();
        objects.sort_unstable_by_key(|addr| crate::arena::dense_address(*addr));
        objects
    };
    let free = |cache: &mut Cache, objects: &[u64]| {
        objects.iter().for_each(|addr| allocator.free(cache, *addr));
        allocator.give_back_all(cache);
        allocator.punch_empty(1);
        allocator.check();
        blocks(&allocator)
    };
    let objects = alloc(&mut cache, 2 * BLOCK_OBJECTS);
    if allocator.ladder_stats().huge_blocks < 2 {
        return skip("the kernel has no huge page to give");
    }
    let (first, second) = objects.split_at(BLOCK_OBJECTS);
    let (low, high) = first.split_at(BLOCK_OBJECTS / 2);
    assert_eq!(free(&mut cache, low), 2);
    // Frames that were empty at the last look are used again, and are the last ones of the block to be empty.
    let again = alloc(&mut cache, BATCH);
    assert!(again.iter().all(|addr| low.contains(addr)));
    assert_eq!(free(&mut cache, high), 2);
    assert_eq!(free(&mut cache, &again), 1);
    // The vacant block is filled again, before the zone grows.
    let refilled = alloc(&mut cache, BLOCK_OBJECTS);
    assert_eq!((blocks(&allocator), &refilled[..]), (2, first));
    assert_eq!(free(&mut cache, second), 1);
    // While a block is filled, it is not given back.
    let filling = alloc(&mut cache, BATCH);
    assert_eq!((blocks(&allocator), allocator.ladder_stats().young > 0), (2, true));
    assert_eq!(free(&mut cache, &filling), 2);
    assert_eq!(free(&mut cache, &refilled), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn live_objects_are_aligned_disjoint_and_conserved(
        dense in any::<bool>(),
        ops in prop::collection::vec((0usize..9000, 0u32..13, any::<prop::sample::Index>(), 0u8..3), 1..400),
    ) {
        let how = if dense { Addressing::Dense } else { Addressing::Lanes };
        let (allocator, mut cache, mut other) = (allocator(how), Cache::new(), Cache::new());
        // By the address in the dense lane, so that slots that share bytes would overlap here.
        let mut live: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (size, align, pick, what) in ops {
            if what == 0 && !live.is_empty() {
                let key = *live.keys().nth(pick.index(live.len())).unwrap();
                let (_, addr) = live.remove(&key).unwrap();
                allocator.free(&mut other, addr);
                continue;
            }
            let size = if what == 1 { size % 300 } else { size };
            let addr = allocator.alloc(&mut cache, request(size, 1 << align)).unwrap();
            prop_assert!(addr.is_multiple_of(1 << align));
            let usable = allocator.usable_bytes(addr).unwrap() as u64;
            prop_assert!(usable >= size as u64);
            let key = if usable <= SLOT_BYTES_MAX as u64 { crate::arena::dense_address(addr) } else { addr };
            if let Some((start, (len, _))) = live.range(..key + usable).next_back() {
                prop_assert!(start + len <= key, "{start:#x}+{len} overlaps {key:#x}");
            }
            live.insert(key, (usable, addr));
        }
        allocator.check();
        allocator.give_back_all(&mut cache);
        allocator.give_back_all(&mut other);
        allocator.check();
    }
}

/// An allocator whose lanes are mapped by huge pages from the first block on. None, said aloud, where the kernel cannot.
fn with_huge_pages(policy: PolicyKind) -> Option<Allocator> {
    let huge = crate::sys::huge_lanes();
    let tracker = track::open(TrackerKind::Async).ok().filter(|_| huge.is_available());
    if tracker.is_none() {
        println!("SKIP: lanes by huge pages: {huge}");
    }
    Some(Allocator::new([9; 16], Addressing::Lanes, tracker?, (Mapping::Huge, policy)).unwrap())
}

const BLOCK_OBJECTS: usize = 512 * 16;

/// Objects of 256 bytes that fill `blocks` blocks, in the order of allocation.
fn fill(allocator: &Allocator, blocks: usize) -> Vec<u64> {
    let mut cache = Cache::new();
    let objects = (0..blocks * BLOCK_OBJECTS).map(|_| allocator.alloc(&mut cache, request(256, 16)).unwrap()).collect();
    allocator.give_back_all(&mut cache);
    objects
}

fn free(allocator: &Allocator, objects: &[u64]) {
    let mut cache = Cache::new();
    objects.iter().for_each(|addr| allocator.free(&mut cache, *addr));
    allocator.give_back_all(&mut cache);
}

/// What a cut does to the zones, without the record.
fn cut(allocator: &Allocator) {
    let class = Class::of(request(256, 16)).unwrap();
    allocator.with_slots(class, |zones| {
        for zone in zones {
            zone.harvest(allocator.tracker()).unwrap();
            zone.climb(allocator.tracker());
        }
    });
}

/// Mappings in the window of zone `number`.
fn mappings(number: ZoneNumber) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let start = |line: &str| u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    maps.lines().filter(|line| start(line) >> ZONE_SHIFT == u64::from(number.0)).count()
}

#[test]
fn vacant_blocks_give_their_memory_back_and_are_no_mappings_of_their_own() {
    let Some(allocator) = with_huge_pages(PolicyKind::Fine) else { return };
    let objects = fill(&allocator, 9);
    cut(&allocator);
    let number = allocator.seats()[0].number;
    let (before, (_, full)) = (mappings(number), allocator.memory_bytes().unwrap());
    assert!(allocator.ladder_stats().sparse >= 8 * 16, "{:?}", allocator.ladder_stats());
    for block in (1..9).step_by(2) {
        free(&allocator, &objects[block * BLOCK_OBJECTS..(block + 1) * BLOCK_OBJECTS]);
    }
    allocator.punch_empty(1);
    allocator.check();
    let (after, (_, half)) = (mappings(number), allocator.memory_bytes().unwrap());
    // A huge page more or less in the dense lane may split it.
    assert!(after <= before + 16, "{before} mappings became {after}");
    assert_eq!(full - half, 4 << 21, "four huge pages");
    // What is allocated next goes there, and takes no new block.
    let again = fill(&allocator, 4);
    allocator.check();
    let old: std::collections::BTreeSet<u64> = objects.iter().copied().collect();
    assert!(again.iter().all(|addr| old.contains(addr)));
    assert_eq!(allocator.memory_bytes().unwrap().1, full);
}

#[test]
fn refills_from_a_block_with_few_free_slots_are_not_walks_over_all_of_it() {
    let Some(allocator) = with_huge_pages(PolicyKind::Fine) else { return };
    let objects = fill(&allocator, 2);
    let few: Vec<u64> = objects.iter().copied().step_by(67).collect();
    free(&allocator, &few);
    let mut cache = Cache::new();
    let again: std::collections::BTreeSet<u64> =
        few.iter().map(|_| allocator.alloc(&mut cache, request(256, 16)).unwrap()).collect();
    assert_eq!(again, few.into_iter().collect(), "freed slots are taken before fresh ones, each once");
    allocator.give_back_all(&mut cache);
    allocator.check();
}

/// It is neither armed nor left to the policy while fresh slots come from it: each would fault, and the first would wake it.
#[test]
fn the_lane_blocks_that_fresh_slots_come_from_are_young_until_they_are_filled() {
    let Some(allocator) = with_huge_pages(PolicyKind::Coarse) else { return };
    let mut cache = Cache::new();
    let counts = |count: usize, cache: &mut Cache| {
        (0..count).for_each(|_| {
            let addr = allocator.alloc(cache, request(256, 16)).unwrap();
            // SAFETY: the slot was just allocated, and nobody else knows of it.
            unsafe { crate::sys::ptr(addr).write(1) };
        });
        cut(&allocator);
        allocator.check();
        let stats = allocator.ladder_stats();
        (stats.young, stats.cold, stats.wakes)
    };
    let first = counts(BATCH, &mut cache);
    if allocator.ladder_stats().huge_blocks == 0 {
        return skip("the kernel has no huge page to give");
    }
    assert_eq!(first, (4, 0, 0));
    assert_eq!(counts(0, &mut cache), (4, 0, 0));
    assert_eq!(counts(15 * BATCH, &mut cache), (4, 0, 0));
    assert_eq!(counts(16 * BATCH, &mut cache), (0, 4, 0), "filled to their end, and the next ones not begun");
    assert_eq!(counts(BATCH, &mut cache), (4, 4, 0));
    assert_eq!(counts(32 * BATCH, &mut cache), (4, 8, 0));
}
