use super::*;
use crate::arena::{Spot, claim_zone, dense_address, page_address, slot_address};
use crate::base::{ZONE_PAGES, ZoneIndex, ZoneKind};
use crate::durable::Addressing;
use crate::sys::{WorkingMemory, ZoneMapping};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A zone of slots of `bytes`, with marks.
fn zone(bytes: u16, writes: Writes) -> (SlotLayout, Marks, ZoneMapping) {
    let layout = SlotLayout::new(bytes).unwrap();
    let memory = WorkingMemory::new().unwrap();
    let mapping = claim_zone(&memory, &[21; 16], ZoneIndex(0), ZoneKind::Slots(layout), Addressing::Lanes).unwrap();
    (layout, Marks::new(&mapping, layout, writes), mapping)
}

/// The same, for addresses in zones that the tests have mapped.
fn write_address(addr: u64, bytes: usize, writes: Writes) -> u64 {
    // SAFETY: in a zone that is mapped; there are no cuts here.
    unsafe { super::write_address(addr, bytes, writes) }
}

fn address(mapping: &ZoneMapping, layout: SlotLayout, (slot, frame): (u16, u32)) -> u64 {
    let spot = Spot { frame: FrameIndex(frame), slot: SlotIndex(slot) };
    slot_address(mapping.number(), layout, Addressing::Lanes, spot)
}

/// Takes the marks of all frames, as pairs of slot and frame.
fn taken(marks: &mut Marks) -> Vec<(u16, u32)> {
    let frames = vec![ZONE_FRAMES; marks.pages.len()];
    let mut all = Vec::new();
    // SAFETY: no other thread marks in this zone.
    unsafe { marks.take(&frames, |marked| all.extend(marked.frames().map(|frame| (marked.at.slot().0, frame.0)))) };
    all
}

fn spots(layout: SlotLayout) -> impl Strategy<Value = BTreeSet<(u16, u32)>> {
    // Some far from each other, and some neighbours.
    let far = (0..layout.slots(), 0..ZONE_FRAMES);
    let near =
        (0..layout.slots().min(3), (0..3u32, 0..70u32).prop_map(|(block, frame)| (block * 500 + frame) % ZONE_FRAMES));
    prop::collection::btree_set(prop_oneof![1 => far, 3 => near], 0..300)
}

#[test]
fn what_is_marked_is_taken_once_in_order() {
    let sizes: &[u16] = if cfg!(miri) { &[1360] } else { &[16, 48, 64, 1360, 2048] };
    for &bytes in sizes {
        let (layout, marks, mapping) = zone(bytes, Writes::Hardware);
        let marks = RefCell::new(marks);
        let config = ProptestConfig {
            cases: if cfg!(miri) { 2 } else { 40 },
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(some in spots(layout), within in 0..bytes, twice in any::<bool>())| {
            for _ in 0..=u32::from(twice) {
                for spot in &some {
                    let addr = address(&mapping, layout, *spot) + u64::from(within);
                    prop_assert_eq!(write_address(addr, usize::from(bytes - within), Writes::Barrier), dense_address(addr));
                }
            }
            prop_assert_eq!(taken(&mut marks.borrow_mut()), some.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(taken(&mut marks.borrow_mut()), []);
        });
    }
}

#[test]
fn eight_bytes_become_eight_bits() {
    for bits in 0..256u64 {
        let bytes = (0..8).map(|i| (bits >> i & 1) << (8 * i)).sum();
        assert_eq!(gather(bytes), bits);
        assert!(ones(bits).eq((0..8).filter(|bit| bits >> bit & 1 == 1)));
    }
    assert_eq!(ones(1 << 63).collect::<Vec<_>>(), [63]);
}

/// The last block of a zone need not be whole.
#[test]
fn all_frames_that_there_are_are_looked_at_and_all_bytes_are_zeros_then() {
    let (layout, mut marks, mapping) = zone(1360, Writes::Barrier);
    let spots = [(0, 2), (1, 0), (2, BLOCK_FRAMES - 1)];
    for spot in spots {
        write_address(address(&mapping, layout, spot), 8, Writes::Barrier);
    }
    let mut found = Vec::new();
    // SAFETY: no other thread marks in this zone.
    unsafe {
        marks.take(&[0, 3, 1, BLOCK_FRAMES], |marked| {
            found.extend(marked.frames().map(|frame| (marked.at.slot().0, frame.0)));
        });
    }
    assert_eq!(found, spots);
    let (above, below) = (marks.above.as_ref().unwrap().base(), marks.marks.unwrap());
    // SAFETY: these are the bytes of the zone's four lanes. No other thread uses them.
    let set =
        |base: ptr::NonNull<u8>, bytes: usize| (0..bytes).filter(|at| unsafe { base.add(*at).read() } != 0).count();
    assert_eq!(set(above, BLOCKS + 4 * LANE_BLOCKS) + set(below, 4 * LANE_BYTES), 0);
}

#[test]
fn who_says_how_writes_are_caught() {
    for of_heap in [Writes::OfHeap, Writes::Hardware, Writes::Barrier] {
        let (layout, mut marks, mapping) = zone(64, of_heap);
        let addr = address(&mapping, layout, (5, 7));
        let by_barrier = |writes| {
            let at = write_address(addr, 64, writes);
            let marked = taken(&mut marks) == [(5, 7)];
            assert_eq!(at, if marked { dense_address(addr) } else { addr });
            marked
        };
        let asked = [Writes::OfHeap, Writes::Hardware, Writes::Barrier].map(by_barrier);
        assert_eq!(asked, [of_heap == Writes::Barrier, false, true], "{of_heap}");
    }
}

#[test]
fn what_has_no_marks_is_written_where_it_is() {
    let layout = SlotLayout::new(64).unwrap();
    let memory = WorkingMemory::new().unwrap();
    let claim = |kind, how| claim_zone(&memory, &[22; 16], ZoneIndex(0), kind, how).unwrap();
    let run = claim(ZoneKind::Runs, Addressing::Lanes);
    let dense = claim(ZoneKind::Slots(layout), Addressing::Dense);
    let _marks = Marks::none(&dense);
    let last = u64::from(ZONE_PAGES - 1) * PAGE as u64;
    let addresses = [
        page_address(run.number(), FrameIndex(3)),
        page_address(run.number(), FrameIndex(0)) + last,
        page_address(dense.number(), FrameIndex(0)) + 64,
        page_address(dense.number(), FrameIndex(ZONE_FRAMES - 1)),
    ];
    for addr in addresses {
        assert_eq!(write_address(addr, 8, Writes::Barrier), addr);
        assert_eq!(write_address(addr, 8, Writes::OfHeap), addr);
    }
    // So is what had marks, and what another heap has now.
    let (layout, marks, mapping) = zone(64, Writes::Barrier);
    let addr = address(&mapping, layout, (1, 1));
    drop(marks);
    assert_eq!(write_address(addr, 8, Writes::Barrier), addr);
    let number = mapping.number();
    let old = Marks::new(&mapping, layout, Writes::Barrier);
    let mut new = Marks::new(&mapping, layout, Writes::Barrier);
    drop(old);
    assert_eq!(write_address(addr, 8, Writes::OfHeap), dense_address(addr));
    assert_eq!(taken(&mut new), [(1, 1)]);
    forget(number);
    assert_eq!(write_address(addr, 8, Writes::Barrier), addr);
}

#[test]
fn threads_mark_neighbours_and_no_mark_is_lost() {
    let (layout, mut marks, mapping) = zone(1024, Writes::Barrier);
    let (frames, rounds) = if cfg!(miri) { (70, 1) } else { (500, 50) };
    for _ in 0..rounds {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mapping = &mapping;
                scope.spawn(move || {
                    // Two threads at each mark, all of them in each group.
                    for frame in (0..frames).filter(|frame| (frame + thread) % 4 < 2) {
                        write_address(address(mapping, layout, (2, frame)), 1024, Writes::OfHeap);
                    }
                });
            }
        });
        assert_eq!(taken(&mut marks), (0..frames).map(|frame| (2, frame)).collect::<Vec<_>>());
    }
}

#[test]
fn memory_grows_with_what_is_marked() {
    let (layout, mut marks, mapping) = zone(64, Writes::Barrier);
    let base = marks.memory_bytes();
    let mut mark = |spot| {
        write_address(address(&mapping, layout, spot), 64, Writes::OfHeap);
        taken(&mut marks);
        (marks.memory_bytes() - base) / PAGE
    };
    // A page for all lanes, those of all lane-blocks, and one of marks for 4096 frames.
    let above = 1 + (65 * LANE_BLOCKS).div_ceil(PAGE);
    assert_eq!([(0, 0), (0, 1), (0, 100), (9, 0)].map(&mut mark), [1, 1, 1, 2].map(|pages| above + pages));
    assert_eq!(mark((0, ZONE_FRAMES - 1)), above + if ZONE_FRAMES > 4096 { 3 } else { 2 });
}
