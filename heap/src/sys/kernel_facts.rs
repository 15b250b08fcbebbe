//! What strewn assumes of the kernel, each assumption proved on the machine that the tests run on.
//!
//! A missing feature prints SKIP; with STREWN_REQUIRE_KERNEL=1 it fails. The trackers' own promises are tested by
//! `track::conformance`; here the kernel is asked without them.

use super::{
    WorkingMemory, ZoneMapping,
    fixtures::collapse,
    huge_lanes,
    limits::overlaps,
    pages::ScratchPage,
    probe::{Feature, probe, skip},
    ptr,
    scan::{NO_REGION, Pagemap},
    uffd::Uffd,
};
use crate::base::{BLOCK_FRAMES, END_ZONE, ErrorKind, LANE_SHIFT, PAGE, ZONE_SHIFT, ZoneIndex, ZoneNumber};
use std::{
    ops::Range,
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

const PAGES: u64 = 64;

/// A zone with `lanes` lanes, and what arms and scans them.
struct Lab {
    uffd: Uffd,
    pagemap: Pagemap,
    zone: ZoneMapping,
}

impl Lab {
    /// `None`, said aloud, where the kernel has no asynchronous write-protect.
    fn new(lanes: u16, pages: u64) -> Option<Self> {
        if let Some((feature, why)) = probe().missing_for_async() {
            skip(&format!("{feature}: {why}"));
            return None;
        }
        let zone = map(lanes, pages * PAGE as u64);
        Some(Self { uffd: Uffd::new().unwrap(), pagemap: Pagemap::open().unwrap(), zone })
    }

    fn pages(&self, lane: u64, pages: Range<u64>) -> Range<u64> {
        let start = (u64::from(self.zone.number().0) << ZONE_SHIFT) + (lane << LANE_SHIFT);
        start + pages.start * PAGE as u64..start + pages.end * PAGE as u64
    }

    fn register_armed(&self, range: &Range<u64>) {
        // SAFETY: every caller passes a mapped lane, a shared mapping of a memfd.
        unsafe { self.uffd.register(range.clone()).unwrap() };
        self.pagemap.arm(range.clone()).unwrap();
    }

    /// The first written stretches of `range`, up to `most`, and where the scan stopped.
    fn scan(&self, range: &Range<u64>, most: usize) -> (Vec<Range<u64>>, u64) {
        let mut regions = vec![NO_REGION; most];
        let (found, done) = self.pagemap.take_written(range.clone(), &mut regions).unwrap();
        (found.iter().map(|r| r.start..r.end).collect(), done)
    }

    fn written(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.scan(range, 1024).0
    }
}

/// Maps a zone at the next number that is free, from the top: the conformance suite takes its own from the bottom.
fn map(lanes: u16, bytes: u64) -> ZoneMapping {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let memory = WorkingMemory::new().unwrap();
    loop {
        let number = ZoneNumber(END_ZONE - NEXT.fetch_add(1, Ordering::Relaxed));
        match memory.map_zone(number, ZoneIndex(5), lanes, bytes) {
            Err(e) if e.kind() == ErrorKind::AddressInUse => (),
            mapped => return mapped.unwrap(),
        }
    }
}

/// Writes to a mapped lane.
fn write(addr: u64) {
    // SAFETY: every caller passes an address in a lane that its `Lab` keeps mapped.
    unsafe { ptr(addr).write_volatile(1) };
}

fn one(range: Range<u64>) -> Vec<Range<u64>> {
    vec![range; 1]
}

fn dont_need(range: &Range<u64>) {
    // SAFETY: every caller passes a mapped lane; its bytes stay in the memfd.
    unsafe { super::pages::advise(range.clone(), libc::MADV_DONTNEED, "MADV_DONTNEED").unwrap() };
}

#[test]
fn asynchronous_write_protect_sees_one_lane_and_nothing_past_it() {
    let Some(lab) = Lab::new(2, PAGES) else { return };
    let (a, b) = (lab.pages(1, 0..PAGES), lab.pages(2, 0..PAGES));
    lab.register_armed(&a);
    lab.register_armed(&b);
    write(lab.pages(0, 3..4).start);
    lab.zone.write(0, &[1; PAGE]).unwrap();
    assert!(lab.written(&a).is_empty() && lab.written(&b).is_empty());
    write(lab.pages(1, 3..4).start);
    assert_eq!(lab.written(&a), one(lab.pages(1, 3..4)));
    assert_eq!(lab.written(&b), []);
}

#[test]
fn a_scan_stops_when_its_vector_is_full_and_says_where() {
    let Some(lab) = Lab::new(1, PAGES) else { return };
    let lane = lab.pages(1, 0..PAGES);
    lab.register_armed(&lane);
    (0..PAGES).step_by(2).for_each(|page| write(lab.pages(1, page..page + 1).start));
    let (found, done) = lab.scan(&lane, 5);
    assert_eq!((found.len(), found.last().unwrap().end <= done, done < lane.end), (5, true, true));
    let (rest, end) = lab.scan(&(done..lane.end), 1024);
    assert_eq!((rest.len() as u64, end), (PAGES / 2 - 5, lane.end));
}

/// The entry of an unarmed page can vanish: it counts as written. That of an armed page leaves a marker: it stays clean.
#[test]
fn a_missing_entry_counts_as_written_unless_it_was_armed() {
    let Some(lab) = Lab::new(1, PAGES) else { return };
    let lane = lab.pages(1, 0..PAGES);
    // SAFETY: a mapped lane, a shared mapping of a memfd.
    unsafe { lab.uffd.register(lane.clone()).unwrap() };
    assert_eq!(lab.written(&lane), one(lane.clone()), "pages never touched");
    assert_eq!(lab.written(&lane), [], "pages never touched are armed by markers");
    write(lane.start);
    dont_need(&lane);
    assert_eq!(lab.written(&lane), one(lab.pages(1, 0..1)));
    dont_need(&lane);
    assert_eq!(lab.written(&lane), []);
    write(lane.start);
    assert_eq!(lab.written(&lane), one(lab.pages(1, 0..1)));
}

/// Punching a frame out is no write: its armed pages may stay clean (Linux 6.18: markers take the place of the entries), though
/// they read as zero now. A write that follows is seen.
#[test]
fn a_write_after_a_punch_is_seen() {
    let Some(lab) = Lab::new(1, PAGES) else { return };
    let lane = lab.pages(1, 0..PAGES);
    (0..PAGES).for_each(|page| write(lab.pages(1, page..page + 1).start));
    lab.register_armed(&lane);
    lab.zone.punch(4 * PAGE as u64, 4 * PAGE as u64).unwrap();
    let after_punch = lab.written(&lane);
    println!("after a punch of 4 armed pages: {} stretches read as written", after_punch.len());
    write(lab.pages(1, 5..6).start);
    let seen = [after_punch, lab.written(&lane)].concat();
    assert!(seen.iter().any(|range| range.contains(&lab.pages(1, 5..6).start)), "{seen:x?}");
}

#[test]
fn registering_leaves_written_pages_unarmed_and_free_to_write() {
    let Some(lab) = Lab::new(1, PAGES) else { return };
    let lane = lab.pages(1, 0..PAGES);
    lab.zone.populate(lane.clone()).unwrap();
    // SAFETY: a mapped lane, a shared mapping of a memfd.
    unsafe { lab.uffd.register(lane.clone()).unwrap() };
    assert_eq!(lab.written(&lane), one(lane.clone()));
    assert_eq!(lab.written(&lane), []);
}

#[test]
fn a_scan_of_unregistered_memory_is_refused() {
    let Some(lab) = Lab::new(1, PAGES) else { return };
    let error = lab.pagemap.take_written(lab.pages(1, 0..1), &mut [NO_REGION]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    let page = ScratchPage::new().unwrap();
    // SAFETY: the scratch page is a shared mapping of a memfd.
    unsafe { lab.uffd.register(page.range()).unwrap() };
    assert_eq!(lab.written(&page.range()), one(page.range()));
}

#[test]
fn memory_grows_where_it_is_touched_and_shrinks_where_it_is_punched() {
    let zone = map(1, 1 << LANE_SHIFT);
    let (start, page) = (u64::from(zone.number().0) << ZONE_SHIFT, PAGE as u64);
    assert_eq!((zone.backed_bytes().unwrap(), zone.next_data(0..1 << LANE_SHIFT).unwrap()), (0, None));
    write(start + (1 << LANE_SHIFT) + 700 * page);
    zone.write(701 * page, &[1]).unwrap();
    assert_eq!(zone.next_data(0..1 << LANE_SHIFT).unwrap(), Some(700 * page..702 * page));
    assert_eq!(zone.next_data(700 * page + 8..701 * page).unwrap(), Some(700 * page + 8..701 * page));
    assert_eq!(zone.backed_bytes().unwrap(), 2 * page);
    let mut byte = [0];
    zone.read(700 * page, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    zone.punch(700 * page, 2 * page).unwrap();
    assert_eq!((zone.backed_bytes().unwrap(), zone.next_data(0..1 << LANE_SHIFT).unwrap()), (0, None));
    zone.read(700 * page, &mut byte).unwrap();
    assert_eq!(byte, [0]);
}

/// A heap of 257 mappings and 512 GiB of address space is made in well under a second, and takes no memory.
#[test]
fn a_zone_of_many_lanes_is_cheap() {
    let Some(lab) = Lab::new(256, 1 << 18) else { return };
    let begin = Instant::now();
    for lane in 1..=256 {
        // SAFETY: a mapped lane, a shared mapping of a memfd.
        unsafe { lab.uffd.register(lab.pages(lane, 0..64)).unwrap() };
    }
    println!("256 lanes registered in {:?}", begin.elapsed());
    assert_eq!(lab.zone.backed_bytes().unwrap(), 0);
}

const BLOCK_PAGES: u64 = BLOCK_FRAMES as u64;
const BLOCK: u64 = BLOCK_PAGES * PAGE as u64;

/// A zone of `blocks` huge pages, which every lane maps by one entry each, nothing registered. None, said aloud, where that is not to be had.
fn huge_lab(lanes: u16, blocks: u64) -> Option<Lab> {
    if let Feature::Missing(why) = huge_lanes() {
        skip(&format!("lanes mapped by huge pages: {why}"));
        return None;
    }
    let lab = Lab::new(lanes, blocks * BLOCK_PAGES)?;
    for block in 0..blocks {
        let pages = block * BLOCK_PAGES..(block + 1) * BLOCK_PAGES;
        collapse(&lab.zone, lab.pages(0, pages.clone()))?;
        (1..=u64::from(lanes)).for_each(|lane| _ = read(lab.pages(lane, pages.clone()).start));
    }
    Some(lab)
}

fn read(addr: u64) -> u8 {
    // SAFETY: every caller passes an address in a lane that its `Lab` keeps mapped.
    unsafe { ptr(addr).read_volatile() }
}

fn huge_bytes(lab: &Lab, range: &Range<u64>) -> u64 {
    lab.pagemap.huge_bytes(range.clone()).unwrap()
}

/// Mappings in the window of `lab`.
fn mappings(lab: &Lab) -> usize {
    let start = u64::from(lab.zone.number().0) << ZONE_SHIFT;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| overlaps(line, &(start..start + (1 << ZONE_SHIFT)))).count()
}

/// What the granularity ladder stands on: a block can become one huge page, whatever the system's settings, and other mappings of it map that by one entry.
#[test]
fn a_block_of_a_memfd_can_be_collapsed() {
    let zone = map(2, 2 * BLOCK);
    let start = u64::from(zone.number().0) << ZONE_SHIFT;
    zone.write(0, &[1; BLOCK as usize]).unwrap();
    let Some(()) = collapse(&zone, start..start + BLOCK) else { return };
    let mut byte = [0];
    zone.read(BLOCK - 1, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    let pagemap = Pagemap::open().unwrap();
    for lane in [0, 1, 2] {
        let block = start + (lane << LANE_SHIFT)..start + (lane << LANE_SHIFT) + BLOCK;
        assert_eq!(read(block.start + 5), 1);
        match pagemap.huge_bytes(block) {
            Ok(BLOCK) => (),
            found => return skip(&format!("lane {lane} of a collapsed block is mapped by huge pages for {found:?}")),
        }
    }
}

/// A block that was touched once is enough, and one punch gives all of it back.
#[test]
fn a_collapsed_block_is_backed_whole_and_punched_whole() {
    let Some(lab) = huge_lab(1, 2) else { return };
    assert_eq!(lab.zone.backed_bytes().unwrap(), 2 * BLOCK);
    lab.zone.punch(0, BLOCK).unwrap();
    assert_eq!(lab.zone.backed_bytes().unwrap(), BLOCK);
}

/// Armed, it is still one entry; one write to it counts for all of its pages, and for those of no other block or lane.
#[test]
fn a_huge_page_is_armed_and_written_as_a_whole() {
    let Some(lab) = huge_lab(2, 2) else { return };
    let (all, other) = (lab.pages(1, 0..2 * BLOCK_PAGES), lab.pages(2, 0..2 * BLOCK_PAGES));
    lab.register_armed(&all);
    lab.register_armed(&other);
    assert_eq!(huge_bytes(&lab, &all), 2 * BLOCK);
    assert_eq!(lab.written(&all), []);
    write(lab.pages(1, BLOCK_PAGES + 7..BLOCK_PAGES + 8).start);
    assert_eq!(lab.written(&all), one(lab.pages(1, BLOCK_PAGES..2 * BLOCK_PAGES)));
    assert_eq!((lab.written(&all), lab.written(&other)), (vec![], vec![]));
    assert_eq!(huge_bytes(&lab, &all), 2 * BLOCK);
}

/// Dropping the entry and arming what is left makes markers of pages: each is caught alone, and the mapping is not split.
#[test]
fn a_huge_page_can_be_armed_page_by_page_and_mapped_whole_again() {
    let Some(lab) = huge_lab(2, 3) else { return };
    let (all, middle) = (lab.pages(1, 0..3 * BLOCK_PAGES), lab.pages(1, BLOCK_PAGES..2 * BLOCK_PAGES));
    let page = |n: u64| lab.pages(1, BLOCK_PAGES + n..BLOCK_PAGES + n + 1);
    lab.register_armed(&all);
    let before = mappings(&lab);
    dont_need(&middle);
    lab.uffd.protect(middle.clone()).unwrap();
    assert_eq!(lab.written(&all), []);
    write(page(9).start);
    assert_eq!(lab.written(&all), one(page(9)));
    assert_eq!((huge_bytes(&lab, &all), mappings(&lab)), (2 * BLOCK, before));
    lab.zone.remap(middle.clone()).unwrap();
    assert_eq!(mappings(&lab), before + 2, "the new mapping is not tracked, so it is one of its own");
    read(middle.start);
    assert_eq!(huge_bytes(&lab, &all), 3 * BLOCK);
    lab.register_armed(&middle);
    assert_eq!((huge_bytes(&lab, &all), mappings(&lab)), (3 * BLOCK, before));
    write(page(9).start);
    assert_eq!(lab.written(&all), one(middle));
}

/// For a moment a part is not tracked: reading maps what is around then, and afterwards it is one mapping with the rest again.
#[test]
fn a_part_of_a_tracked_lane_can_be_filled() {
    let Some(lab) = huge_lab(2, 3) else { return };
    let (all, middle) = (lab.pages(1, 0..3 * BLOCK_PAGES), lab.pages(1, BLOCK_PAGES..2 * BLOCK_PAGES));
    lab.register_armed(&all);
    let before = mappings(&lab);
    dont_need(&middle);
    lab.uffd.protect(middle.clone()).unwrap();
    lab.uffd.unregister(middle.clone()).unwrap();
    assert_eq!(mappings(&lab), before + 2);
    read(middle.start);
    // 64 KiB, or all that is one huge page (Linux 6.18); by entries of pages, because there is a table.
    let around = lab.pagemap.present_bytes(middle.clone()).unwrap();
    assert!(around > PAGE as u64, "{around:#x} bytes are mapped around a page");
    assert_eq!(huge_bytes(&lab, &middle), 0);
    // SAFETY: a lane that `lab` keeps mapped, tracked by nobody else.
    unsafe { lab.uffd.register(middle.clone()).unwrap() };
    lab.uffd.protect(middle.clone()).unwrap();
    assert_eq!((mappings(&lab), lab.written(&all)), (before, vec![]));
    for page in [0, 9, 400] {
        let page = lab.pages(1, BLOCK_PAGES + page..BLOCK_PAGES + page + 1);
        write(page.start);
        assert_eq!(lab.written(&all), one(page));
    }
}

/// Other lanes keep their page tables, and what these know.
#[test]
fn collapsing_a_block_forgets_no_mark_of_another_lane() {
    let Some(lab) = Lab::new(2, BLOCK_PAGES) else { return };
    let lane = lab.pages(1, 0..BLOCK_PAGES);
    lab.zone.populate(lab.pages(0, 0..BLOCK_PAGES)).unwrap();
    lab.zone.populate(lane.clone()).unwrap();
    lab.register_armed(&lane);
    write(lab.pages(1, 3..4).start);
    let Some(()) = collapse(&lab.zone, lab.pages(0, 0..BLOCK_PAGES)) else { return };
    write(lab.pages(1, 300..301).start);
    assert_eq!(lab.written(&lane), [lab.pages(1, 3..4), lab.pages(1, 300..301)]);
    assert_eq!(huge_bytes(&lab, &lane), 0);
}
