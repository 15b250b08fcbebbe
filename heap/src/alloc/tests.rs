//! The allocator as a whole: addresses, alignment, conservation.

use super::*;
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
fn a_fresh_batch_walks_one_lane_and_comes_back_in_order() {
    let (allocator, mut cache) = (allocator(Addressing::Lanes), Cache::new());
    let first = allocator.alloc(&mut cache, request(64, 8)).unwrap();
    let second = allocator.alloc(&mut cache, request(64, 8)).unwrap();
    assert_eq!(second - first, PAGE as u64, "the next slot is on the next page of the same lane");
    let third = (0..7).map(|_| allocator.alloc(&mut cache, request(64, 8)).unwrap()).last().unwrap();
    assert_eq!(third - first, (1 << 30) + 64, "after the run's frames, the next lane");
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
