//! The suite again for lanes that are mapped by huge pages, where the asynchronous tracker knows blocks, and what only they can do: get finer and coarser.
//!
//! A report may name more than was written, but nothing outside the block; so these tests ask that what was written is in it, and that the rest lies in the
//! same block. What exactly the kernel does here is in [`crate::sys`]'s kernel facts.

use super::{
    TrackerKind,
    conformance::{Lab, every, read, write},
    conformance_kernel::{drop_page_tables, in_fork, killed_by, race},
};
use crate::{
    base::{BLOCK_FRAMES, ErrorKind, PAGE},
    sys::{
        fixtures, huge_lanes,
        probe::{Feature, skip},
        ptr,
    },
};
use std::{io::Write, ops::Range, os::fd::AsRawFd};

const BLOCK: u64 = BLOCK_FRAMES as u64;
const BLOCK_BYTES: u64 = BLOCK * PAGE as u64;

impl Lab {
    /// A zone of `blocks` huge pages that are mapped into each of `lanes` lanes as such, tracked.
    fn huge(lanes: u16, blocks: u64) -> Option<Self> {
        let lab = Self::paged(lanes, blocks)?;
        for block in 0..blocks {
            lab.collapse(block)?;
        }
        for lane in 1..=u64::from(lanes) {
            (0..blocks).for_each(|block| _ = read(lab.block(lane, block).start));
            lab.track(&lab.lane(lane, 0..blocks * BLOCK));
        }
        Some(lab)
    }

    /// A zone of `blocks` blocks of pages, where huge pages are to be had. Nothing is mapped or tracked.
    fn paged(lanes: u16, blocks: u64) -> Option<Self> {
        if let Feature::Missing(why) = huge_lanes() {
            skip(&format!("lanes mapped by huge pages: {why}"));
            return None;
        }
        Self::new(TrackerKind::Async, lanes, blocks * BLOCK)
    }

    fn collapse(&self, block: u64) -> Option<()> {
        fixtures::collapse(&self.zone, self.block(0, block))
    }

    fn block(&self, lane: u64, block: u64) -> Range<u64> {
        self.lane(lane, block * BLOCK..(block + 1) * BLOCK)
    }

    fn page(&self, lane: u64, page: u64) -> u64 {
        self.lane(lane, page..page + 1).start
    }

    fn arm(&self, range: &Range<u64>) {
        self.tracker.arm(range.clone()).unwrap();
    }

    /// Writes to `pages` of `lane`, in ascending order; its harvest must tell of these alone, and once.
    fn each_is_seen(&self, lane: &Range<u64>, pages: Vec<u64>) {
        pages.iter().for_each(|page| write(*page, 7));
        assert_eq!(self.harvest(lane), pages);
        assert_eq!(self.harvest(lane), []);
    }

    /// Writes to page `page` of `lane`, a range of whole blocks; its harvest must tell of that, and of nothing outside the page's block.
    fn write_is_seen(&self, lane: &Range<u64>, page: u64) {
        let addr = lane.start + page * PAGE as u64;
        let block = addr - addr % BLOCK_BYTES..addr - addr % BLOCK_BYTES + BLOCK_BYTES;
        write(addr, read(addr) + 1);
        let found = self.harvest(lane);
        assert!(found.contains(&addr), "page {page} is missing from {found:#x?}");
        assert!(found.iter().all(|addr| block.contains(addr)), "page {page}: {found:#x?}");
    }
}

#[test]
fn fresh_blocks_count_as_written_once() {
    let Some(lab) = Lab::huge(2, 3) else { return };
    let lane = lab.lane(2, 0..3 * BLOCK);
    assert!(lab.tracker.tracks_huge_pages());
    assert_eq!(lab.harvest(&lane), every(&lane));
    assert_eq!(lab.harvest(&lane), []);
    write(lane.start, 1);
    lab.arm(&lane);
    assert_eq!(lab.harvest(&lane), [], "armed, whatever was written before");
}

#[test]
fn a_write_reports_its_block_and_no_other_block_or_lane() {
    let Some(lab) = Lab::huge(3, 3) else { return };
    let lanes: Vec<_> = (1..=3).map(|lane| lab.lane(lane, 0..3 * BLOCK)).collect();
    lanes.iter().for_each(|lane| lab.arm(lane));
    for (lane, page) in [(0, 0), (1, BLOCK), (2, 2 * BLOCK - 1), (0, 3 * BLOCK - 1), (0, 0)] {
        lab.write_is_seen(&lanes[lane], page);
        lanes.iter().for_each(|lane| assert_eq!(lab.harvest(lane), []));
    }
    // A harvest of one block leaves the others as they are.
    write(lab.page(2, 5), 1);
    write(lab.page(2, 2 * BLOCK + 5), 1);
    assert!(lab.harvest(&lab.block(2, 0)).contains(&lab.page(2, 5)));
    assert_eq!(lab.harvest(&lab.block(2, 1)), []);
    assert!(lab.harvest(&lanes[1]).contains(&lab.page(2, 2 * BLOCK + 5)));
}

#[test]
fn writes_past_the_lane_are_not_seen_in_it() {
    let Some(lab) = Lab::huge(2, 1) else { return };
    let (a, b) = (lab.block(1, 0), lab.block(2, 0));
    lab.arm(&a);
    lab.arm(&b);
    write(lab.page(0, 3), 5);
    lab.zone.write(4 * PAGE as u64, &[6; PAGE]).unwrap();
    assert_eq!((lab.harvest(&a), lab.harvest(&b)), (vec![], vec![]));
    assert_eq!((read(lab.page(1, 3)), read(lab.page(2, 4))), (5, 0x0606_0606_0606_0606));
}

#[test]
fn a_refined_block_is_caught_page_by_page() {
    let Some(lab) = Lab::huge(2, 3) else { return };
    let (lane, middle) = (lab.lane(1, 0..3 * BLOCK), lab.block(1, 1));
    let page = |n: u64| lab.page(1, BLOCK + n);
    lab.arm(&lane);
    // What was written and not harvested is forgotten: all of it is armed.
    write(page(1), 7);
    lab.tracker.refine(middle.clone()).unwrap();
    assert_eq!(lab.harvest(&lane), []);
    // Reading maps what is around it, and marks nothing.
    every(&middle).into_iter().step_by(3).for_each(|page| _ = read(page));
    assert_eq!((read(page(1)), lab.harvest(&lane)), (7, vec![]));
    for written in [vec![0], vec![511], vec![17, 18, 300], (0..512).step_by(5).collect(), vec![17]] {
        lab.each_is_seen(&lane, written.into_iter().map(page).collect());
    }
    lab.write_is_seen(&lane, 3);
    lab.write_is_seen(&lane, 2 * BLOCK + 3);
    // Also from what is armed, page by page already.
    lab.tracker.refine(middle).unwrap();
    write(page(5), 1);
    assert_eq!(lab.harvest(&lane), [page(5)]);
}

#[test]
fn a_filled_block_is_caught_page_by_page() {
    let Some(lab) = Lab::huge(2, 3) else { return };
    let (lane, middle) = (lab.lane(1, 0..3 * BLOCK), lab.block(1, 1));
    let page = |n: u64| lab.page(1, BLOCK + n);
    lab.arm(&lane);
    lab.tracker.refine(middle.clone()).unwrap();
    write(page(1), 7);
    for _ in 0..2 {
        // What was written and not harvested is forgotten: all of it is armed.
        lab.tracker.fill(middle.clone()).unwrap();
        assert_eq!((lab.harvest(&lane), read(page(1))), (vec![], 7));
        for written in [vec![0, 1], vec![511], (0..512).step_by(5).collect()] {
            lab.each_is_seen(&lane, written.into_iter().map(page).collect());
        }
        lab.write_is_seen(&lane, 3);
        lab.write_is_seen(&lane, 2 * BLOCK + 3);
    }
    lab.zone.remap(middle.clone()).unwrap();
    lab.track(&middle);
    lab.arm(&middle);
    lab.write_is_seen(&lane, BLOCK + 77);
}

#[test]
fn a_block_that_was_never_touched_can_be_refined() {
    let Some(lab) = Lab::paged(1, 1) else { return };
    let block = lab.block(1, 0);
    lab.track(&block);
    lab.tracker.refine(block.clone()).unwrap();
    assert_eq!(lab.harvest(&block), []);
    write(lab.page(1, 100), 1);
    assert_eq!(lab.harvest(&block), [lab.page(1, 100)]);
}

#[test]
fn a_block_mapped_anew_is_coarse_again() {
    let Some(lab) = Lab::huge(2, 3) else { return };
    let (lane, middle) = (lab.lane(1, 0..3 * BLOCK), lab.block(1, 1));
    lab.arm(&lane);
    for round in 1..4 {
        lab.tracker.refine(middle.clone()).unwrap();
        write(lab.page(1, BLOCK + round), round);
        assert_eq!(lab.harvest(&lane), [lab.page(1, BLOCK + round)]);
        write(lab.page(1, 2), round);
        lab.zone.remap(middle.clone()).unwrap();
        assert_eq!(read(lab.page(1, BLOCK + round)), round);
        lab.track(&middle);
        assert_eq!(lab.harvest(&middle), every(&middle), "not armed yet");
        assert_eq!(lab.harvest(&middle), []);
        assert!(lab.harvest(&lane).contains(&lab.page(1, 2)), "a neighbour's mark is gone");
        lab.write_is_seen(&lane, BLOCK + 77);
        lab.write_is_seen(&lane, 2 * BLOCK);
    }
}

#[test]
fn a_harvest_crosses_blocks_of_every_kind() {
    let Some(lab) = Lab::huge(1, 4) else { return };
    let lane = lab.lane(1, 0..4 * BLOCK);
    lab.arm(&lane);
    lab.tracker.refine(lab.block(1, 1)).unwrap();
    lab.zone.punch(2 * BLOCK_BYTES, BLOCK_BYTES).unwrap();
    lab.harvest(&lane);
    let pages = [3, BLOCK + 1, BLOCK + 4, 2 * BLOCK + 9, 4 * BLOCK - 1].map(|page| lab.page(1, page));
    pages.iter().for_each(|page| write(*page, 1));
    let found = lab.harvest(&lane);
    assert!(pages.iter().all(|page| found.contains(page)), "{found:#x?}");
    let in_refined: Vec<_> = found.iter().filter(|addr| lab.block(1, 1).contains(addr)).collect();
    assert_eq!(in_refined, [&pages[1], &pages[2]]);
    assert_eq!(lab.harvest(&lane), []);
}

#[test]
fn writers_racing_harvests_of_blocks_lose_nothing() {
    let Some(lab) = Lab::huge(2, 2) else { return };
    race(&lab, 2, 2 * BLOCK, |_| ());
}

/// What a checkpoint does outside its pause: lanes keep the pages that they had, armed or not.
#[test]
fn collapsing_under_writers_loses_nothing() {
    const BLOCKS: u64 = 8;
    let Some(lab) = Lab::paged(2, BLOCKS) else { return };
    let lane = lab.lane(2, 0..BLOCKS * BLOCK);
    lab.zone.populate(lab.lane(0, 0..BLOCKS * BLOCK)).unwrap();
    // In some blocks of the lane no page is mapped, in some every third.
    for block in 0..BLOCKS {
        match block % 3 {
            0 => lab.zone.populate(lab.block(2, block)).unwrap(),
            1 => (0..BLOCK / 3).for_each(|page| write(lab.page(2, block * BLOCK + 3 * page), 1)),
            _ => (),
        }
    }
    lab.track(&lane);
    let (mut collapsed, mut busy) = (0, 0);
    race(&lab, 2, BLOCKS * BLOCK, |harvest| {
        if harvest % 4 == 3 && collapsed < BLOCKS {
            match lab.zone.collapse(lab.block(0, collapsed)).unwrap() {
                true => collapsed += 1,
                false => busy += 1,
            }
        }
    });
    println!("{collapsed} of {BLOCKS} blocks collapsed under writers; they were busy {busy} times");
    assert!(collapsed > 0, "a block was busy {busy} times");
    (collapsed..BLOCKS).for_each(|block| _ = lab.collapse(block));
    lab.arm(&lane);
    (0..BLOCKS).for_each(|block| lab.write_is_seen(&lane, block * BLOCK + 11));
}

/// Without writers, what is armed and not written stays clean as well.
#[test]
fn collapsing_a_block_of_armed_and_written_pages_keeps_their_marks() {
    let Some(lab) = Lab::paged(2, 1) else { return };
    let (lane, other) = (lab.block(1, 0), lab.block(2, 0));
    for lane in [&lane, &other] {
        lab.zone.populate(lane.clone()).unwrap();
        lab.track(lane);
        lab.arm(lane);
    }
    let written = [0, 1, 99, 511].map(|page| lab.page(1, page));
    written[..2].iter().for_each(|page| write(*page, 1));
    let Some(()) = lab.collapse(0) else { return };
    written[2..].iter().for_each(|page| write(*page, 1));
    let found = lab.harvest(&lane);
    assert!(written.iter().all(|page| found.contains(page)), "{found:#x?}");
    assert_eq!(lab.harvest(&other), [], "nobody wrote through it");
    lab.write_is_seen(&lane, 200);
    // The lane gets its huge page when it is mapped anew.
    lab.zone.remap(lane.clone()).unwrap();
    assert_eq!(written.map(read), [1; 4]);
    lab.track(&lane);
    lab.arm(&lane);
    lab.write_is_seen(&lane, 200);
}

/// As when all objects of a block are freed, and it is filled again: armed as a whole, page by page, or not at all.
#[test]
fn punched_blocks_lose_no_write() {
    let Some(lab) = Lab::huge(3, 1) else { return };
    let lanes = [1, 2, 3].map(|lane| lab.block(lane, 0));
    for again in [false, true] {
        lanes.iter().for_each(|lane| every(lane).into_iter().for_each(|page| write(page, 1)));
        lab.arm(&lanes[0]);
        lab.tracker.refine(lanes[1].clone()).unwrap();
        lab.zone.punch(0, BLOCK_BYTES).unwrap();
        assert_eq!(lab.zone.backed_bytes().unwrap(), 0);
        if again {
            let Some(()) = lab.collapse(0) else { return };
        }
        for (lane, range) in (1..).zip(&lanes) {
            assert_eq!(read(lab.page(lane, 30)), 0);
            write(lab.page(lane, 31), lane);
            assert!(lab.harvest(range).contains(&lab.page(lane, 31)), "lane {lane}, collapsed again: {again}");
            lab.arm(range);
            lab.write_is_seen(range, 400);
        }
    }
}

#[test]
fn dropped_huge_entries_lose_no_write() {
    let Some(lab) = Lab::huge(1, 2) else { return };
    let lane = lab.lane(1, 0..2 * BLOCK);
    lab.arm(&lane);
    write(lab.page(1, 4), 1);
    drop_page_tables(&lane);
    write(lab.page(1, BLOCK + 9), 2);
    let found = lab.harvest(&lane);
    assert!(found.contains(&lab.page(1, 4)) && found.contains(&lab.page(1, BLOCK + 9)), "{found:#x?}");
    drop_page_tables(&lane);
    write(lab.page(1, 4), 3);
    assert!(lab.harvest(&lane).contains(&lab.page(1, 4)));
    assert_eq!((read(lab.page(1, 4)), read(lab.page(1, BLOCK + 9))), (3, 2));
}

#[test]
fn writes_by_the_kernel_are_tracked_in_every_kind_of_block() {
    let Some(lab) = Lab::huge(1, 2) else { return };
    let lane = lab.lane(1, 0..2 * BLOCK);
    lab.arm(&lane);
    lab.tracker.refine(lab.block(1, 1)).unwrap();
    for page in [5, BLOCK + 5].map(|page| lab.page(1, page)) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"12345678").unwrap();
        // SAFETY: the page is mapped while `lab` lives, and only this thread uses it.
        assert_eq!(unsafe { libc::read(reader.as_raw_fd(), ptr(page).cast(), 8) }, 8);
        assert!(lab.harvest(&lane).contains(&page));
        assert_eq!(read(page), u64::from_ne_bytes(*b"12345678"));
    }
}

/// A mapping made anew is kept from children like the one before it.
#[test]
fn a_forked_child_can_do_no_harm_after_a_remap() {
    let Some(lab) = Lab::huge(1, 2) else { return };
    let (lane, block) = (lab.lane(1, 0..2 * BLOCK), lab.block(1, 1));
    lab.tracker.refine(block.clone()).unwrap();
    lab.zone.remap(block.clone()).unwrap();
    lab.track(&block);
    lab.arm(&lane);
    let status = in_fork(|| {
        let forked = |result: crate::base::Result<()>| result.is_err_and(|e| e.kind() == ErrorKind::Forked);
        let refused = forked(lab.tracker.refine(block.clone()))
            && forked(lab.tracker.arm(block.clone()))
            && forked(lab.zone.remap(block.clone()))
            && forked(lab.zone.collapse(lab.block(0, 1)).map(|_| ()));
        i32::from(!refused)
    });
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "child: {status:#x}");
    for page in [7, BLOCK + 7] {
        let status = in_fork(|| {
            write(lab.page(1, page), 66);
            0
        });
        assert!(killed_by(status, libc::SIGSEGV), "child: {status:#x}");
        assert_eq!((lab.harvest(&lane), read(lab.page(1, page))), (vec![], 0));
        lab.write_is_seen(&lane, page + 1);
    }
}
