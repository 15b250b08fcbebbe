//! [`RunZone`]: objects of more than half a page, as runs of whole pages in a zone without lanes.
//!
//! Invariants:
//! - R1. `allocated` and `free` are disjoint and together cover exactly the pages below `end`; no two stretches of `free` touch.
//! - R2. `changed` maps each run start that was allocated or freed since the last durable record to its length as of that record.
//! - R3. `fresh` holds the allocated runs whose every page the next record must hold, because they were not allocated at the last cut.

use crate::arena::page_address;
use crate::base::{FrameIndex, PAGE, Result, ZONE_PAGES, ZoneIndex};
use crate::durable::ZoneCatalog;
use crate::sys::ZoneMapping;
use crate::track::WriteTracker;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Tracking grows by at least this many pages at a time.
const TRACK_PAGES_MIN: u32 = if cfg!(any(miri, strewn_twin)) { 16 } else { 1024 };

/// A change of the allocation state that a record must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunChange {
    /// The run at this page, of this many pages, is no longer allocated.
    Freed(FrameIndex, u32),
    /// The run at this page, of this many pages, is allocated.
    Allocated(FrameIndex, u32),
}

/// One zone of page runs.
pub struct RunZone {
    /// Its place in the heap's zone table.
    pub index: ZoneIndex,
    /// Its memory.
    pub mapping: ZoneMapping,
    allocated: BTreeMap<u32, u32>,
    free: BTreeMap<u32, u32>,
    end: u32,
    tracked: u32,
    changed: BTreeMap<u32, Option<u32>>,
    fresh: BTreeSet<u32>,
    /// Stretches that were freed and may be punched out where they still are free.
    emptied: Vec<Range<u32>>,
    /// Pages that the next record must hold: harvested, or in a record that was lost. In any order, overlapping.
    written: Vec<Range<u32>>,
    live_pages: u64,
}

impl RunZone {
    /// An empty zone in `mapping`.
    pub fn new(index: ZoneIndex, mapping: ZoneMapping) -> Self {
        Self {
            index,
            mapping,
            allocated: BTreeMap::new(),
            free: BTreeMap::new(),
            end: 0,
            tracked: 0,
            changed: BTreeMap::new(),
            fresh: BTreeSet::new(),
            emptied: Vec::new(),
            written: Vec::new(),
            live_pages: 0,
        }
    }

    /// The zone that `catalog` describes, armed.
    ///
    /// # Errors
    /// If the operating system refuses to track it.
    pub fn recover(
        index: ZoneIndex,
        mapping: ZoneMapping,
        catalog: &ZoneCatalog,
        tracker: &dyn WriteTracker,
    ) -> Result<Self> {
        let mut zone = Self::new(index, mapping);
        for (first, pages) in &catalog.runs {
            if *first > zone.end {
                zone.free.insert(zone.end, first - zone.end);
            }
            zone.allocated.insert(*first, *pages);
            zone.live_pages += u64::from(*pages);
            zone.end = first + pages;
        }
        zone.track_up_to(tracker, zone.end)?;
        if zone.tracked > 0 {
            tracker.arm(zone.addresses(0..zone.tracked))?;
        }
        Ok(zone)
    }

    /// Finds out which pages were written since the last harvest, for [`RunZone::take_written`], and arms them again.
    ///
    /// # Errors
    /// What the tracker reports. What it had found by then is kept.
    pub fn harvest(&mut self, tracker: &dyn WriteTracker) -> Result<()> {
        if self.tracked == 0 {
            return Ok(());
        }
        let tracked = self.addresses(0..self.tracked);
        let base = tracked.start;
        let page = |addr: u64| ((addr - base) / PAGE as u64) as u32;
        tracker.harvest(tracked, &mut |range| self.written.push(page(range.start)..page(range.end)))
    }

    /// Allocated runs, and their pages.
    pub fn live(&self) -> (u64, u64) {
        (self.allocated.len() as u64, self.live_pages)
    }

    /// Allocates `pages` pages at a multiple of `align` pages, the lowest that fit. `None` if the zone has no such room.
    ///
    /// # Errors
    /// If the operating system refuses to track the pages. Nothing is allocated then.
    pub fn allocate(&mut self, pages: u32, align: u32, tracker: &dyn WriteTracker) -> Result<Option<u64>> {
        let first = match self.find_free(pages, align) {
            Some(first) => first,
            None => {
                let Some(first) = self.end.checked_next_multiple_of(align) else { return Ok(None) };
                let Some(end) = first.checked_add(pages).filter(|end| *end <= ZONE_PAGES) else { return Ok(None) };
                self.track_up_to(tracker, end)?;
                if first > self.end {
                    self.insert_free(self.end, first - self.end);
                }
                self.insert_free(first, pages);
                self.end = end;
                first
            }
        };
        self.carve(first, pages);
        self.allocated.insert(first, pages);
        self.live_pages += u64::from(pages);
        self.fresh.insert(first);
        self.changed.entry(first).or_insert(None);
        Ok(Some(page_address(self.mapping.number(), FrameIndex(first))))
    }

    /// Frees the run at `addr`. Returns its pages.
    ///
    /// # Panics
    /// If no run starts there.
    pub fn free(&mut self, addr: u64) -> u32 {
        let first = self.page_of(addr);
        let Some(pages) = self.allocated.remove(&first) else {
            panic!("no page run starts at {addr:#x}: freed twice, or never allocated");
        };
        let was_durable = (!self.fresh.remove(&first)).then_some(pages);
        self.changed.entry(first).or_insert(was_durable);
        self.insert_free(first, pages);
        self.live_pages -= u64::from(pages);
        self.emptied.push(first..first + pages);
        pages
    }

    /// The pages of the run that starts at `addr`.
    pub fn pages_at(&self, addr: u64) -> Option<u32> {
        self.allocated.get(&self.page_of(addr)).copied()
    }

    /// Calls `visit` with each allocated run's address and pages.
    pub fn each_allocated(&self, mut visit: impl FnMut(u64, u32)) {
        let number = self.mapping.number();
        self.allocated.iter().for_each(|(first, pages)| visit(page_address(number, FrameIndex(*first)), *pages));
    }

    /// The allocated runs that overlap `pages`, cut to it.
    pub fn allocated_in(&self, pages: Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        let before = self.allocated.range(..pages.start).next_back();
        let from = self.allocated.range(pages.start..pages.end);
        before.into_iter().chain(from).filter_map(move |(first, len)| {
            let cut = (*first).max(pages.start)..(first + len).min(pages.end);
            (!cut.is_empty()).then_some(cut)
        })
    }

    /// Whether a run that starts at or before `page` and holds it is new since the last cut.
    pub fn is_fresh(&self, page: u32) -> bool {
        self.allocated.range(..=page).next_back().is_some_and(|(first, _)| self.fresh.contains(first))
    }

    /// What changed since the last durable record, frees first; and the new runs, whole. Starts the next epoch.
    pub fn settle(&mut self) -> (Vec<RunChange>, Vec<Range<u32>>) {
        let changed = std::mem::take(&mut self.changed);
        let differ = || changed.iter().filter(|(first, before)| self.allocated.get(first) != before.as_ref());
        let freed = differ().filter_map(|(first, before)| Some(RunChange::Freed(FrameIndex(*first), (*before)?)));
        let born = differ()
            .filter_map(|(first, _)| Some(RunChange::Allocated(FrameIndex(*first), *self.allocated.get(first)?)));
        let changes = freed.chain(born).collect();
        let fresh = std::mem::take(&mut self.fresh).into_iter();
        let fresh = fresh.map(|first| first..first + self.allocated[&first]).collect();
        (changes, fresh)
    }

    /// A record was lost that said the run at `first` is allocated: as of the last durable one, it is not.
    pub fn owe_allocated(&mut self, first: FrameIndex) {
        self.changed.insert(first.0, None);
        if self.allocated.contains_key(&first.0) {
            self.fresh.insert(first.0);
        }
    }

    /// A record was lost that said the run at `first`, of `pages` pages, is freed: as of the last durable one, it is allocated. In a record, frees come
    /// first; so this call must come after [`RunZone::owe_allocated`] for a run at the same place.
    pub fn owe_freed(&mut self, first: FrameIndex, pages: u32) {
        self.changed.insert(first.0, Some(pages));
    }

    /// The last record was lost, and these pages with it.
    pub fn owe_pages(&mut self, pages: Range<u32>) {
        self.written.push(pages);
    }

    /// The stretches of written (and owed) pages that are allocated and not fresh: sorted, without overlap. To be recorded now.
    pub fn take_written(&mut self) -> Vec<Range<u32>> {
        let mut all = std::mem::take(&mut self.written);
        all.sort_unstable_by_key(|range| range.start);
        let mut pages: Vec<Range<u32>> = Vec::new();
        for range in all {
            for cut in self.allocated_in(range).filter(|cut| !self.is_fresh(cut.start)) {
                match pages.last_mut() {
                    Some(last) if cut.start <= last.end => last.end = last.end.max(cut.end),
                    _ => pages.push(cut),
                }
            }
        }
        pages
    }

    /// Returns the memory of freed pages to the operating system. Best effort: what it does not take stays with the heap, free.
    pub fn punch_empty(&mut self) {
        for emptied in std::mem::take(&mut self.emptied) {
            for (first, pages) in self.free_in(emptied) {
                let _ = self.mapping.punch(u64::from(first) * PAGE as u64, u64::from(pages) * PAGE as u64);
            }
        }
    }

    /// Checks R1.
    ///
    /// # Panics
    /// If it is broken.
    pub fn check(&self) {
        let mut all: Vec<(u32, u32, bool)> = self.allocated.iter().map(|(f, p)| (*f, *p, true)).collect();
        all.extend(self.free.iter().map(|(f, p)| (*f, *p, false)));
        all.sort_unstable();
        let mut at = 0;
        let mut free_before = false;
        for (first, pages, taken) in all {
            assert_eq!(first, at, "R1: gap or overlap at page {at} of zone {}", self.index);
            assert!(taken || !free_before, "R1: free stretches touch at page {at} of zone {}", self.index);
            free_before = !taken;
            at += pages;
        }
        assert_eq!(at, self.end, "R1: zone {} ends early", self.index);
        let pages = self.allocated.values().map(|pages| u64::from(*pages)).sum::<u64>();
        assert_eq!(pages, self.live_pages, "zone {} miscounts its live pages", self.index);
    }

    fn free_in(&self, pages: Range<u32>) -> Vec<(u32, u32)> {
        let before = self.free.range(..=pages.start).next_back();
        let inside = self.free.range(pages.start + 1..pages.end);
        let cut = before.into_iter().chain(inside).map(|(first, len)| {
            let start = (*first).max(pages.start);
            (start, (first + len).min(pages.end).saturating_sub(start))
        });
        cut.filter(|(_, len)| *len > 0).collect()
    }

    /// The lowest free page where `pages` pages fit, aligned. O(free stretches).
    fn find_free(&self, pages: u32, align: u32) -> Option<u32> {
        self.free.iter().find_map(|(first, len)| {
            let start = first.checked_next_multiple_of(align)?;
            (start.checked_add(pages)? <= first + len).then_some(start)
        })
    }

    /// Cuts `pages` pages at `first` out of the free stretch around them.
    fn carve(&mut self, first: u32, pages: u32) {
        let (start, len) = self.free.range(..=first).next_back().map(|(s, l)| (*s, *l)).expect("R1: a free stretch");
        debug_assert!(first + pages <= start + len);
        self.free.remove(&start);
        if first > start {
            self.free.insert(start, first - start);
        }
        if start + len > first + pages {
            self.free.insert(first + pages, start + len - first - pages);
        }
    }

    /// Adds a free stretch, joined with its neighbours.
    fn insert_free(&mut self, mut first: u32, mut pages: u32) {
        if let Some((start, len)) = self.free.range(..first).next_back().map(|(s, l)| (*s, *l))
            && start + len == first
        {
            self.free.remove(&start);
            (first, pages) = (start, len + pages);
        }
        if let Some(len) = self.free.remove(&(first + pages)) {
            pages += len;
        }
        self.free.insert(first, pages);
    }

    fn track_up_to(&mut self, tracker: &dyn WriteTracker, end: u32) -> Result<()> {
        if end <= self.tracked {
            return Ok(());
        }
        let goal = end.max(self.tracked.saturating_add(TRACK_PAGES_MIN)).min(ZONE_PAGES);
        // SAFETY: the pages lie in this zone's mapping, which is as long as ZONE_PAGES and lives as long as `self`.
        unsafe { tracker.track(self.addresses(self.tracked..goal)) }
            .map_err(|e| e.context(format!("zone {} up to page {goal}", self.mapping.number())))?;
        self.tracked = goal;
        Ok(())
    }

    fn addresses(&self, pages: Range<u32>) -> Range<u64> {
        let start = page_address(self.mapping.number(), FrameIndex(pages.start));
        start..start + u64::from(pages.end - pages.start) * PAGE as u64
    }

    fn page_of(&self, addr: u64) -> u32 {
        ((addr - page_address(self.mapping.number(), FrameIndex(0))) / PAGE as u64) as u32
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::{ZoneKind, ZoneNumber};
    use crate::durable::Addressing;
    use crate::track::{self, TrackerKind};
    use proptest::prelude::*;

    /// Dropped in reverse order: the tracker ends before the memory that it tracks.
    fn zone() -> (RunZone, Box<dyn WriteTracker>) {
        let memory = crate::sys::WorkingMemory::new().unwrap();
        let index = ZoneIndex(0);
        let mapping = crate::arena::claim_zone(&memory, &[9; 16], index, ZoneKind::Runs, Addressing::Lanes).unwrap();
        (RunZone::new(index, mapping), track::open(TrackerKind::Signal).unwrap())
    }

    fn whole(run: Range<u32>) -> Vec<Range<u32>> {
        std::iter::once(run).collect()
    }

    fn number_of(zone: &RunZone) -> ZoneNumber {
        zone.mapping.number()
    }

    #[test]
    fn a_run_freed_and_taken_again_in_one_epoch_is_told_as_both() {
        let (mut zone, tracker) = zone();
        let a = zone.allocate(3, 1, &*tracker).unwrap().unwrap();
        assert_eq!(zone.settle(), (vec![RunChange::Allocated(FrameIndex(0), 3)], whole(0..3)));
        zone.free(a);
        let b = zone.allocate(2, 1, &*tracker).unwrap().unwrap();
        assert_eq!(a, b);
        let changes = vec![RunChange::Freed(FrameIndex(0), 3), RunChange::Allocated(FrameIndex(0), 2)];
        assert_eq!(zone.settle(), (changes.clone(), whole(0..2)));
        // That record is lost: the next one must tell the same.
        zone.owe_allocated(FrameIndex(0));
        zone.owe_freed(FrameIndex(0), 3);
        assert_eq!(zone.settle(), (changes, whole(0..2)));
        assert_eq!(zone.pages_at(b), Some(2));
        assert_eq!(b, page_address(number_of(&zone), FrameIndex(0)));
    }

    #[test]
    fn written_pages_are_cut_to_allocated_runs_that_are_not_fresh() {
        let (mut zone, tracker) = zone();
        let runs: Vec<u64> = (0..4).map(|_| zone.allocate(4, 1, &*tracker).unwrap().unwrap()).collect();
        zone.settle();
        zone.free(runs[1]);
        zone.allocate(4, 1, &*tracker).unwrap();
        zone.owe_pages(12..14);
        zone.written.push(0..13);
        assert_eq!(zone.take_written(), [0..4, 8..14]);
        assert_eq!(zone.take_written(), []);
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_free_space_is_joined(ops in prop::collection::vec((1u32..9, 0u32..4, 0usize..8), 1..80)) {
            let (mut zone, tracker) = zone();
            let mut live: Vec<u64> = Vec::new();
            for (pages, align, pick) in ops {
                if pick < live.len() {
                    zone.free(live.swap_remove(pick));
                } else if let Some(addr) = zone.allocate(pages, 1 << align, &*tracker).unwrap() {
                    prop_assert!(addr.is_multiple_of(PAGE as u64 * (1 << align)));
                    live.push(addr);
                }
                zone.check();
                prop_assert_eq!(zone.live().0, live.len() as u64);
            }
        }
    }
}
