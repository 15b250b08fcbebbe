//! Recovered zones, and more than one zone of a class.

use super::*;
use crate::arena::{Spot, locate, slot_address};
use crate::base::{BLOCK_FRAMES, END_ZONE, FIRST_ZONE, FrameIndex, SlotIndex, ZONE_FRAMES};
use crate::durable::ZoneCatalog;

/// What is known of a zone of slots of `bytes` with as many frames as there are `masks`.
fn zone(bytes: usize, masks: impl Iterator<Item = u64>) -> ZoneCatalog {
    let kind = ZoneKind::Slots(Class::of(request(bytes, 16)).unwrap().layout());
    let allocated: Vec<u64> = masks.collect();
    let frames = allocated.len() as u32;
    let mut zone = ZoneCatalog::new(ZoneNumber(0), kind);
    (zone.frames, zone.allocated, zone.crcs) = (frames, allocated, vec![0; frames as usize]);
    zone
}

/// Recovers `zones` into `allocator` wherever there is room for them, every byte of their frames 1.
fn recover(allocator: &Allocator, zones: Vec<ZoneCatalog>, loaded_frames: usize) {
    let mut catalog = Catalog { zones, ..Catalog::default() };
    for first in FIRST_ZONE..END_ZONE {
        (first..).zip(&mut catalog.zones).for_each(|(number, zone)| zone.number = ZoneNumber(number));
        let load = |mappings: &[&ZoneMapping]| {
            let bytes = vec![1; loaded_frames * PAGE];
            mappings.iter().try_for_each(|mapping| mapping.write(0, &bytes))
        };
        match allocator.recover(&catalog, load) {
            Err(e) if e.kind() == ErrorKind::AddressInUse => {}
            recovered => return recovered.unwrap(),
        }
    }
    panic!("{} zones in a row are not free", catalog.zones.len());
}

fn zone_of(addr: u64) -> u16 {
    (addr >> ZONE_SHIFT) as u16
}

/// Free slots of any zone of the class come first; then the zones that are not full yet; then a new one.
#[test]
fn free_slots_of_earlier_zones_are_used_before_a_new_zone_is_mapped() {
    const FREE: [usize; 2] = [100, 3];
    let (allocator, mut cache) = (allocator(Addressing::Lanes), Cache::new());
    // Of two slots in each frame, the first is free in the last frames of two zones. The third zone has none, and room for more.
    let full =
        |free: usize| (0..ZONE_FRAMES as usize).map(move |at| if at + free < ZONE_FRAMES as usize { 3 } else { 2 });
    let mut zones = FREE.map(|free| zone(2048, full(free))).to_vec();
    zones.push(zone(2048, [3; 8].into_iter()));
    recover(&allocator, zones, 1);
    let numbers: Vec<u16> = allocator.seats().iter().map(|seat| seat.number.0).collect();
    let mut take = |count: usize| -> Vec<u16> {
        (0..count).map(|_| zone_of(allocator.alloc(&mut cache, request(2048, 16)).unwrap())).collect()
    };
    assert_eq!(take(FREE[0]), vec![numbers[0]; FREE[0]]);
    assert_eq!(take(FREE[1]), vec![numbers[1]; FREE[1]]);
    let left = 2 * (ZONE_FRAMES as usize - 8);
    assert_eq!(take(left.min(100)), vec![numbers[2]; left.min(100)]);
    assert_eq!(allocator.seats().len(), 3);
    allocator.give_back_all(&mut cache);
    allocator.check();
}

/// A block that became vacant has fresh slots again, in whichever zone it is.
#[test]
fn a_vacant_block_of_an_earlier_zone_is_filled_before_a_later_zone_grows() {
    let Some(allocator) = with_huge_pages(PolicyKind::Fine) else { return };
    let masks = (0..3 * BLOCK_FRAMES).map(|frame| if frame / BLOCK_FRAMES == 1 { 0 } else { 0xFFFF });
    recover(&allocator, vec![zone(256, masks), zone(256, [0xFFFF; 8].into_iter())], 1);
    let first = allocator.seats()[0].number.0;
    let mut places: Vec<_> = fill(&allocator, 1).into_iter().map(|addr| (zone_of(addr), block_of(addr))).collect();
    places.dedup();
    assert_eq!(places, [(first, 1)]);
    allocator.check();
}

fn block_of(addr: u64) -> u32 {
    let class = Class::of(request(256, 16)).unwrap();
    locate(class.layout(), addr).frame.0 / BLOCK_FRAMES
}

/// As when the heap was filled by pages before, or with another size of runs.
#[test]
fn the_last_block_of_a_recovered_zone_need_not_be_whole() {
    const LAST: u32 = 100;
    let Some(allocator) = with_huge_pages(PolicyKind::Fine) else { return };
    let frames = BLOCK_FRAMES + LAST;
    recover(&allocator, vec![zone(256, (0..frames).map(|_| 0xFFFF))], frames as usize);
    let (class, seat) = (Class::of(request(256, 16)).unwrap(), allocator.seats()[0]);
    let backed = || allocator.memory_bytes().unwrap().1 / PAGE as u64;
    cut(&allocator);
    assert_eq!(backed(), u64::from(frames));
    let last = (BLOCK_FRAMES..frames).flat_map(|frame| (0..16).map(move |slot| (FrameIndex(frame), SlotIndex(slot))));
    let last: Vec<u64> = last
        .map(|(frame, slot)| slot_address(seat.number, class.layout(), Addressing::Lanes, Spot { frame, slot }))
        .collect();
    free(&allocator, &last);
    allocator.punch_empty(1);
    allocator.check();
    assert_eq!(backed(), u64::from(BLOCK_FRAMES), "frame by frame");
    // Its slots are free, not fresh, and the zone goes on behind them.
    let again: std::collections::BTreeSet<u64> = fill(&allocator, 2).into_iter().collect();
    assert!(last.iter().all(|addr| again.contains(addr)));
    assert_eq!(again.iter().map(|addr| block_of(*addr)).max(), Some(2));
    allocator.check();
    cut(&allocator);
    allocator.with_slots(class, |zones| zones[0].ledger.close_epoch());
    // SAFETY: the slot was just allocated, and nobody refers to it.
    unsafe { crate::sys::ptr(last[0]).write(7) };
    cut(&allocator);
    let written = |zones: &mut Vec<SlotZone>| zones[0].ledger.touched.iter().collect::<Vec<_>>();
    assert_eq!(allocator.with_slots(class, written), [FrameIndex(BLOCK_FRAMES)]);
}

#[test]
fn a_block_is_not_given_back_while_a_part_of_it_is_filled() {
    let Some(allocator) = with_huge_pages(PolicyKind::Fine) else { return };
    let frames = BLOCK_FRAMES + 448;
    recover(&allocator, vec![zone(256, (0..frames).map(|_| 0xFFFF))], frames as usize);
    let (class, seat) = (Class::of(request(256, 16)).unwrap(), allocator.seats()[0]);
    let mut cache = Cache::new();
    // A batch of the run behind the last frame that was there, which reaches to the end of the block.
    let more: Vec<u64> = (0..BATCH).map(|_| allocator.alloc(&mut cache, request(256, 16)).unwrap()).collect();
    let at = |(frame, slot)| {
        slot_address(
            seat.number,
            class.layout(),
            Addressing::Lanes,
            Spot { frame: FrameIndex(frame), slot: SlotIndex(slot) },
        )
    };
    let block = (BLOCK_FRAMES..frames).flat_map(|frame| (0..16).map(move |slot| (frame, slot))).map(at);
    free(&allocator, &block.chain(more).collect::<Vec<u64>>());
    cut(&allocator);
    allocator.punch_empty(1);
    allocator.check();
    let objects = fill(&allocator, 2);
    let distinct: std::collections::BTreeSet<_> = objects.iter().collect();
    assert_eq!(distinct.len(), objects.len(), "no slot is handed out twice");
    allocator.check();
}
