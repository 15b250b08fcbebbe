//! Blocks for which the kernel has no huge page, for a moment or at all.

use super::*;
use crate::arena::lane_range;
use crate::base::{BLOCK_FRAMES, LaneIndex, block_frames};
use crate::sys::refuse::{Refusal, can_refuse, refusing};
use crate::track::fixtures::{Failing, Fuses, NEVER};
use std::sync::Arc;
use std::time::Duration;

/// The same as in `slots.rs`.
const BUSY_MAX: usize = 64;
/// How often, some milliseconds apart, a block is asked for that nothing keeps from becoming a huge page. Fewer than what the tests leave of [`BUSY_MAX`].
const ATTEMPTS: usize = 20;

/// An allocator with so many blocks of objects of 256 bytes, each of which the kernel has refused a huge page when it was new.
fn filled_by_pages(blocks: usize) -> Option<Allocator> {
    let allocator = with_huge_pages(PolicyKind::Fine).filter(|_| can_refuse())?;
    refusing(&[Refusal::collapse(libc::ENOMEM)], || _ = fill(&allocator, blocks));
    assert_eq!(huge(&allocator), []);
    Some(allocator)
}

/// The blocks of the first zone that are huge pages.
fn huge(allocator: &Allocator) -> Vec<u32> {
    allocator.check();
    let class = Class::of(request(256, 16)).unwrap();
    allocator.with_slots(class, |zones| (0..8).filter(|block| zones[0].ladder.is_huge(*block)).collect())
}

/// Asking for a huge page of `block` of the first zone.
fn asking_for(allocator: &Allocator, block: u32, error: i32) -> Refusal {
    Refusal::collapse(error).within(lane_range(allocator.seats()[0].number, LaneIndex(0), block_frames(block)))
}

/// Asks until `blocks` are huge pages. They may be busy for a moment, though nobody writes to them.
fn become_huge(allocator: &Allocator, blocks: &[u32]) {
    for _ in 0..ATTEMPTS {
        allocator.collapse_filled();
        if huge(allocator) == blocks {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?} are huge pages, and {blocks:?} can be", huge(allocator));
}

#[test]
fn a_block_whose_pages_were_busy_becomes_a_huge_page_later() {
    let Some(allocator) = filled_by_pages(3) else { return };
    let busy = asking_for(&allocator, 1, libc::EAGAIN);
    refusing(&[busy], || become_huge(&allocator, &[0]));
    become_huge(&allocator, &[0, 1, 2]);
}

#[test]
fn a_block_whose_pages_stay_busy_is_left_alone_and_the_next_one_has_its_own_chances() {
    let Some(allocator) = filled_by_pages(3) else { return };
    let busy = [0, 1].map(|block| asking_for(&allocator, block, libc::EAGAIN));
    refusing(&busy, || (0..BUSY_MAX + BUSY_MAX / 2).for_each(|_| allocator.collapse_filled()));
    assert_eq!(huge(&allocator), [], "one after the other");
    become_huge(&allocator, &[1, 2]);
    allocator.collapse_filled();
    assert_eq!(huge(&allocator), [1, 2], "the first one is not asked for any more");
}

#[test]
fn a_block_that_the_kernel_refuses_is_asked_for_once() {
    let Some(allocator) = filled_by_pages(2) else { return };
    let refused = asking_for(&allocator, 0, libc::EINVAL);
    refusing(&[refused], || become_huge(&allocator, &[1]));
    allocator.collapse_filled();
    assert_eq!(huge(&allocator), [1]);
}

/// Addresses do not depend on what the kernel has to give.
#[test]
fn objects_lie_where_they_would_if_the_kernel_had_huge_pages() {
    if !can_refuse() {
        return;
    }
    let places = |objects: Vec<u64>| -> Vec<u64> { objects.iter().map(|addr| addr % (1 << ZONE_SHIFT)).collect() };
    let Some(allocator) = with_huge_pages(PolicyKind::Coarse) else { return };
    let expected = places(fill(&allocator, 2));
    let Some(other) = with_huge_pages(PolicyKind::Coarse) else { return };
    let refused = refusing(&[Refusal::collapse(libc::EINVAL)], || {
        let objects = fill(&other, 2);
        cut(&other);
        objects
    });
    let stats = other.ladder_stats();
    assert_eq!((stats.huge_blocks, stats.young, stats.cold), (0, 0, 0), "pages are sparse or hot");
    assert_eq!(other.memory_bytes().unwrap().1, 2 * u64::from(BLOCK_FRAMES) * PAGE as u64, "backed all the same");
    assert_eq!(places(refused), expected);
}

#[test]
fn a_lane_that_can_not_be_tracked_is_not_handed_out() {
    let Some(allocator) = with_huge_pages(PolicyKind::Fine).filter(|_| can_refuse()) else { return };
    let mut cache = Cache::new();
    let mut last = None;
    for count in [4 * BLOCK_FRAMES as usize, BLOCK_OBJECTS] {
        for _ in 0..2 {
            let untracked =
                refusing(&[Refusal::register(libc::ENOMEM)], || allocator.alloc(&mut cache, request(256, 16)));
            assert_eq!(untracked.unwrap_err().kind(), ErrorKind::OutOfMemory);
            allocator.check();
            cut(&allocator);
        }
        let objects: Vec<u64> = (0..count).map(|_| allocator.alloc(&mut cache, request(256, 16)).unwrap()).collect();
        assert!(last.is_none_or(|last| objects[0] == last + (1 << crate::base::LANE_SHIFT) - 511 * PAGE as u64 + 256));
        last = objects.last().copied();
        cut(&allocator);
        allocator.check();
    }
    assert_eq!(allocator.seats().len(), 1);
}

#[test]
fn of_lanes_that_are_begun_together_those_that_can_be_tracked_are_used() {
    let Ok(inner) = track::open(TrackerKind::Async) else { return skip("there is no asynchronous tracker") };
    let fuses = Arc::new(Fuses::default());
    let tracker = Box::new(Failing { inner, fuses: fuses.clone() });
    let ladder = (Mapping::Pages, PolicyKind::Fine);
    let allocator = Allocator::new([9; 16], Addressing::Lanes, tracker, ladder).unwrap();
    let mut cache = Cache::new();
    let mut alloc = |count: usize| -> Vec<u64> {
        (0..count).map(|_| allocator.alloc(&mut cache, request(256, 16)).unwrap()).collect()
    };
    fuses.track.set(2);
    let mut objects = alloc(3);
    fuses.track.set(NEVER);
    let (lane, page) = (1 << crate::base::LANE_SHIFT, PAGE as u64);
    assert_eq!(
        (objects[1] - objects[0], objects[2] - objects[0]),
        (lane + 256, page),
        "two lanes, then the next frame"
    );
    allocator.check();
    objects.extend(alloc(BLOCK_OBJECTS));
    cut(&allocator);
    allocator.check();
    let count = objects.len();
    objects.sort_unstable();
    objects.dedup();
    assert_eq!((objects.len(), allocator.seats().len()), (count, 1));
}
