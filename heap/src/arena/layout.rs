//! Address arithmetic. Pure functions; nothing here touches memory.

use crate::base::{
    FrameIndex, LANE_SHIFT, LaneIndex, PAGE_SHIFT, SlotIndex, SlotLayout, ZONE_FRAMES, ZONE_SHIFT, ZoneNumber,
};
use crate::durable::Addressing;
use std::ops::Range;

const LANE_BITS: u64 = ((1 << (ZONE_SHIFT - LANE_SHIFT)) - 1) << LANE_SHIFT;
/// Lanes that an address can name.
pub const ZONE_LANES: usize = 1 << (ZONE_SHIFT - LANE_SHIFT);

/// An address taken apart as that of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The frame within the zone.
    pub frame: FrameIndex,
    /// The slot within the frame.
    pub slot: SlotIndex,
}

/// The first address of a zone, which is also the start of its dense lane.
#[inline]
fn zone_base(number: ZoneNumber) -> u64 {
    u64::from(number.0) << ZONE_SHIFT
}

/// The canonical address of a slot: in its own lane, or in the dense lane of a densely addressed heap.
#[inline]
pub fn slot_address(number: ZoneNumber, layout: SlotLayout, how: Addressing, spot: Spot) -> u64 {
    let lane = match how {
        Addressing::Lanes => u64::from(spot.slot.0) + 1,
        Addressing::Dense => 0,
    };
    zone_base(number) | lane << LANE_SHIFT | u64::from(spot.frame.0) << PAGE_SHIFT | layout.byte_of(spot.slot) as u64
}

/// The frame and slot that `addr`, inside a zone of `layout` slots, belongs to.
#[inline]
pub fn locate(layout: SlotLayout, addr: u64) -> Spot {
    let frame = (addr >> PAGE_SHIFT) as u32 & ((1 << (LANE_SHIFT - PAGE_SHIFT)) - 1);
    let byte = addr as usize & ((1 << PAGE_SHIFT) - 1);
    Spot { frame: FrameIndex(frame), slot: SlotIndex((byte / layout.slot_bytes()) as u16) }
}

/// The twin of a slot's address in the dense lane. Not for addresses in page runs.
#[inline]
pub fn dense_address(addr: u64) -> u64 {
    addr & !LANE_BITS
}

/// The number of the page of `addr` within its zone, if all lanes have [`ZONE_FRAMES`] frames: below `ZONE_LANES * ZONE_FRAMES`, for any address.
#[inline]
pub fn page_in_zone(addr: u64) -> usize {
    let lane = (addr & LANE_BITS) >> LANE_SHIFT;
    let frame = (addr >> PAGE_SHIFT) & (u64::from(ZONE_FRAMES) - 1);
    (lane * u64::from(ZONE_FRAMES) + frame) as usize
}

/// The address of a page in a zone of page runs, or of a frame in the dense lane.
#[inline]
pub fn page_address(number: ZoneNumber, page: FrameIndex) -> u64 {
    zone_base(number) | u64::from(page.0) << PAGE_SHIFT
}

/// The addresses of `frames` as seen through `lane`.
#[inline]
pub fn lane_range(number: ZoneNumber, lane: LaneIndex, frames: Range<u32>) -> Range<u64> {
    let base = zone_base(number) | u64::from(lane.0) << LANE_SHIFT;
    base + (u64::from(frames.start) << PAGE_SHIFT)..base + (u64::from(frames.end) << PAGE_SHIFT)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::FIRST_ZONE;

    #[test]
    fn addresses_and_spots_are_inverse() {
        let number = ZoneNumber(FIRST_ZONE + 3);
        for bytes in (16..=2048).step_by(16) {
            let layout = SlotLayout::new(bytes).unwrap();
            for slot in [0, 1, layout.slots() / 2, layout.slots() - 1].map(SlotIndex) {
                for frame in [0, 1, 4095, (1 << 18) - 1].map(FrameIndex) {
                    let spot = Spot { frame, slot };
                    let addr = slot_address(number, layout, Addressing::Lanes, spot);
                    assert_eq!(locate(layout, addr), spot);
                    assert_eq!(locate(layout, addr + layout.slot_bytes() as u64 - 1), spot);
                    assert_eq!(dense_address(addr), slot_address(number, layout, Addressing::Dense, spot));
                    let lane = lane_range(number, LaneIndex(slot.0 + 1), frame.0..frame.0 + 1);
                    assert!(lane.contains(&addr) && lane.end - lane.start == 4096);
                }
            }
        }
    }
}
