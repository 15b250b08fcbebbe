//! One suite for every tracker: each test runs against all of them.
//!
//! Each test takes zones of its own, so that they can run side by side in one process. What only makes sense against a real
//! kernel (lanes that are told apart, races, fork, signals) is in [`super::conformance_kernel`].

use super::{TrackerKind, WriteTracker, open};
use crate::{
    base::{END_ZONE, ErrorKind, FIRST_ZONE, LANE_SHIFT, PAGE, ZONE_SHIFT, ZoneIndex, ZoneNumber},
    sys::{WorkingMemory, ZoneMapping, probe::skip, ptr},
};
use std::{
    ops::Range,
    sync::atomic::{AtomicU16, Ordering},
};

/// A zone of its own, with a tracker. The tracker goes first.
pub struct Lab {
    pub tracker: Box<dyn WriteTracker>,
    pub zone: ZoneMapping,
    pub memory: WorkingMemory,
}

impl Lab {
    /// `None`, said aloud, where the kernel lacks what `kind` needs; a failure if STREWN_REQUIRE_KERNEL=1.
    pub fn new(kind: TrackerKind, lanes: u16, pages: u64) -> Option<Self> {
        let tracker = match open(kind) {
            Ok(tracker) => tracker,
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                skip(&e.to_string());
                return None;
            }
            Err(e) => panic!("{e}"),
        };
        let memory = WorkingMemory::new().unwrap();
        let zone = map_somewhere(&memory, lanes, pages);
        Some(Self { tracker, zone, memory })
    }

    /// The addresses of `pages` of a lane.
    pub fn lane(&self, lane: u64, pages: Range<u64>) -> Range<u64> {
        let start = (u64::from(self.zone.number().0) << ZONE_SHIFT) + (lane << LANE_SHIFT);
        start + pages.start * PAGE as u64..start + pages.end * PAGE as u64
    }

    pub fn track(&self, range: &Range<u64>) {
        // SAFETY: every caller passes a range of a mapped lane; the zone outlives the tracker.
        unsafe { self.tracker.track(range.clone()).unwrap() };
    }

    /// What a harvest of `range` reports, as addresses of pages.
    pub fn harvest(&self, range: &Range<u64>) -> Vec<u64> {
        let mut pages = Vec::new();
        self.tracker
            .harvest(range.clone(), &mut |found| {
                assert!(range.start <= found.start && found.start < found.end && found.end <= range.end, "{found:#x?}");
                pages.extend(found.step_by(PAGE));
            })
            .unwrap();
        assert!(pages.is_sorted_by(|a, b| a < b), "not ascending: {pages:#x?}");
        pages
    }
}

/// A zone number that no other test of the trackers uses. Tests of whole heaps may.
pub fn next_zone() -> ZoneNumber {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    ZoneNumber(FIRST_ZONE + NEXT.fetch_add(1, Ordering::Relaxed) % (END_ZONE - FIRST_ZONE))
}

/// Maps a zone of `pages` at the next number that is free.
pub fn map_somewhere(memory: &WorkingMemory, lanes: u16, pages: u64) -> ZoneMapping {
    loop {
        match memory.map_zone(next_zone(), ZoneIndex(3), lanes, pages * PAGE as u64) {
            Err(e) if e.kind() == ErrorKind::AddressInUse => (),
            mapped => return mapped.unwrap(),
        }
    }
}

/// Writes the word at `addr`, which is in a mapped lane of the calling test.
pub fn write(addr: u64, value: u64) {
    // SAFETY: by this function's contract; aligned, and volatile because others may look at it meanwhile.
    unsafe { ptr(addr).cast::<u64>().write_volatile(value) };
}

/// Reads the word at `addr`, which is in a mapped lane of the calling test.
pub fn read(addr: u64) -> u64 {
    // SAFETY: as in `write`.
    unsafe { ptr(addr).cast::<u64>().read_volatile() }
}

pub fn every(range: &Range<u64>) -> Vec<u64> {
    range.clone().step_by(PAGE).collect()
}

/// One test for each kind, each calling the generic function of the same name.
macro_rules! for_each_kind {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use crate::track::TrackerKind;
            #[test]
            fn with_async() { super::$name(TrackerKind::Async); }
            #[test]
            fn with_signal() { super::$name(TrackerKind::Signal); }
            #[test]
            fn with_page() { super::$name(TrackerKind::Page); }
        }
    )*};
}
pub(super) use for_each_kind;

for_each_kind!(
    fresh_pages_count_as_written_once,
    a_write_marks_exactly_its_page,
    arming_recovered_memory_makes_it_clean,
    tracking_grows_by_adjacent_ranges,
    untracked_memory_is_plain,
    alternating_pages_are_all_found,
);

fn fresh_pages_count_as_written_once(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 2, 64) else { return };
    assert_eq!(lab.tracker.kind(), kind);
    let lane = lab.lane(1, 0..64);
    lab.track(&lane);
    assert_eq!(lab.harvest(&lane), every(&lane));
    if !cfg!(miri) {
        assert_eq!(lab.harvest(&lane), []);
    }
}

fn a_write_marks_exactly_its_page(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 2, 64) else { return };
    let lane = lab.lane(1, 0..64);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    for (round, page) in [0, 5, 63, 5].into_iter().enumerate() {
        let addr = lane.start + page * PAGE as u64;
        write(addr + 8, round as u64 + 1);
        write(addr + 4088, round as u64 + 1);
        let found = lab.harvest(&lane);
        if cfg!(miri) {
            assert!(found.contains(&addr));
        } else {
            assert_eq!(found, [addr]);
            assert_eq!(lab.harvest(&lane), []);
        }
    }
    let part = lab.lane(1, 10..20);
    write(lane.start, 77);
    write(part.start, 77);
    assert!(lab.harvest(&part).contains(&part.start));
    assert!(lab.harvest(&lane).contains(&lane.start), "a harvest of a part forgot the rest");
}

fn arming_recovered_memory_makes_it_clean(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 3, 256) else { return };
    lab.zone.write(7 * PAGE as u64, &[1; 3 * PAGE]).unwrap();
    let lane = lab.lane(2, 0..256);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    if !cfg!(miri) {
        assert_eq!(lab.harvest(&lane), [], "never touched pages are not armed");
    }
    assert_eq!(read(lab.lane(2, 8..9).start), 0x0101_0101_0101_0101);
    for page in [8, 100] {
        let addr = lab.lane(2, page..page + 1).start;
        write(addr, 2);
        let found = lab.harvest(&lane);
        assert!(found.contains(&addr) && (cfg!(miri) || found.len() == 1), "{found:#x?}");
    }
}

fn tracking_grows_by_adjacent_ranges(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 256) else { return };
    for piece in 0..4 {
        let fresh = lab.lane(1, piece * 64..(piece + 1) * 64);
        lab.zone.populate(fresh.clone()).unwrap();
        lab.track(&fresh);
        let all = lab.lane(1, 0..(piece + 1) * 64);
        let found = lab.harvest(&all);
        assert_eq!(found, if cfg!(miri) { every(&all) } else { every(&fresh) });
    }
    let all = lab.lane(1, 0..256);
    write(lab.lane(1, 63..64).start, 1);
    write(lab.lane(1, 64..65).start, 1);
    assert!(cfg!(miri) || lab.harvest(&all) == every(&lab.lane(1, 63..65)));
}

fn untracked_memory_is_plain(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 64) else { return };
    let (all, half) = (lab.lane(1, 0..64), lab.lane(1, 32..64));
    lab.track(&all);
    lab.tracker.arm(all.clone()).unwrap();
    lab.tracker.untrack(half.clone());
    every(&all).into_iter().for_each(|page| write(page, 9));
    assert_eq!(lab.harvest(&lab.lane(1, 0..32)), every(&lab.lane(1, 0..32)));
    // Tracked again, it starts anew.
    lab.track(&half);
    assert_eq!(lab.harvest(&half), every(&half));
}

fn alternating_pages_are_all_found(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 512) else { return };
    let lane = lab.lane(1, 0..512);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    let odd: Vec<u64> = every(&lane).into_iter().skip(1).step_by(2).collect();
    for round in 1..4 {
        odd.iter().for_each(|page| write(*page, round));
        let found = lab.harvest(&lane);
        assert!(found == odd || cfg!(miri), "{} of {} pages found", found.len(), odd.len());
    }
}
