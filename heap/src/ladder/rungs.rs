//! [`Ladder`]: the states of one zone's lane-blocks, and the steps between them.
//!
//! Invariants:
//! - D1. A tracked lane-block is in exactly one of `young`, `hot`, `sparse`, or in none of them: then it is cold, or its block is vacant.
//! - D2. `unarmed` is `young`, `hot`, and all lane-blocks of vacant blocks. These are never harvested. All others are, at each cut.
//! - D3. After each cut, every slot that differs from what was recorded last is marked in the ledger, new, or in a frame that was emptied. What was
//!   written to an armed slot is reported; a hot or young lane-block has a shadow, or is marked whole, or holds nothing but slots that are new.
//! - D4. Only a block that is a huge page has cold or young lane-blocks.
//! - D5. A vouched lane-block was clean, and armed, some time before the cut. It is left out of the harvest at the cut; instead, a scan after the cut must find
//!   it clean still. Then nobody wrote to it in between, and so not before the cut. If one was written, the cut is made a second time, with all of them.
//!   If no thread was in a section between the first scan and the cut, the second is left out.
//!
//! All steps happen while the world is stopped, after the harvest: a page is never armed, mapped anew or left unarmed under a writer. None of them can lose
//! a write by failing: a page that was not armed counts as written, and what is not tracked ([`Ladder::untracked`]) stays hot.

mod steps;

use super::LadderStats;
use super::policy::Policy;
use super::shadow::{Shadows, View};
use crate::arena::lane_range;
use crate::base::{
    BLOCK_FRAMES, LaneBlock, LaneBlockSet, LaneIndex, PAGE_SHIFT, Result, SlotIndex, SlotLayout, SlotMask, ZoneNumber,
};
use crate::sys::ZoneMapping;
use crate::track::WriteTracker;
use std::ops::Range;

/// Of the lane-blocks that become cold, one in 2^this has its bytes kept: 1.6 % of the memory of cold slots.
const SENTINEL_SHIFT: u32 = if cfg!(test) { 1 } else { 6 };

/// See the module.
pub struct Ladder {
    zone: ZoneNumber,
    layout: SlotLayout,
    policy: Box<dyn Policy>,
    /// Whether the tracker arms what is mapped by a huge page as one.
    coarse: bool,
    /// The blocks that are huge pages.
    huge: Vec<bool>,
    young: LaneBlockSet,
    hot: LaneBlockSet,
    sparse: LaneBlockSet,
    /// Sparse ones that are cheaper to write once they are filled.
    bare: LaneBlockSet,
    /// Sparse ones that have not been harvested since slots were first handed out of them: so far, what was written was born.
    born: LaneBlockSet,
    unarmed: LaneBlockSet,
    /// Cold ones that were written to, as far as this cut has found out.
    woken: LaneBlockSet,
    /// Those all of whose slots were marked for that since the last record: some were written, and nobody knows which.
    suspects: LaneBlockSet,
    /// Slots of sparse lane-blocks that were written, as far as this cut has found out.
    written: Vec<u16>,
    /// Hot ones that the tracker could not be told of.
    untracked: LaneBlockSet,
    /// Cold ones that were clean just before the world was stopped (D5).
    vouched: LaneBlockSet,
    shadows: Shadows,
    /// See [`SENTINEL_SHIFT`].
    sentinel_shift: u32,
    stats: LadderStats,
}

/// The zone that a ladder stands in, as it is during a cut.
pub struct Site<'a> {
    /// Its memory.
    pub mapping: &'a ZoneMapping,
    /// What watches it.
    pub tracker: &'a dyn WriteTracker,
    /// The masks of taken slots.
    pub taken: &'a [u64],
    /// How many frames of each lane are tracked.
    pub lane_frames: &'a [u32],
    /// The lane-blocks that fresh slots come from.
    pub filling: &'a [LaneBlock],
}

impl Ladder {
    /// The ladder of a zone without frames.
    pub fn new(zone: ZoneNumber, layout: SlotLayout, policy: Box<dyn Policy>, coarse: bool) -> Self {
        Self {
            zone,
            layout,
            policy,
            coarse,
            huge: Vec::new(),
            young: LaneBlockSet::default(),
            hot: LaneBlockSet::default(),
            sparse: LaneBlockSet::default(),
            bare: LaneBlockSet::default(),
            born: LaneBlockSet::default(),
            unarmed: LaneBlockSet::default(),
            woken: LaneBlockSet::default(),
            suspects: LaneBlockSet::default(),
            written: Vec::new(),
            untracked: LaneBlockSet::default(),
            vouched: LaneBlockSet::default(),
            shadows: Shadows::default(),
            sentinel_shift: SENTINEL_SHIFT,
            stats: LadderStats::default(),
        }
    }

    /// Notes whether `block` is a huge page.
    pub fn set_huge(&mut self, block: u32, huge: bool) {
        let block = block as usize;
        if block >= self.huge.len() {
            self.huge.resize(block + 1, false);
        }
        self.huge[block] = huge;
    }

    /// Whether `block` is a huge page.
    pub fn is_huge(&self, block: u32) -> bool {
        self.huge.get(block as usize).copied().unwrap_or(false)
    }

    /// Fresh slots are about to be handed out of `at`, which is mapped and tracked, but not armed.
    pub fn begin(&mut self, at: LaneBlock) {
        self.forget(at);
        self.untracked.remove(at);
        if self.coarse && self.is_huge(at.block()) {
            self.young.insert(at);
            self.unarmed.insert(at);
        } else {
            self.sparse.insert(at);
            self.born.insert(at);
        }
    }

    /// `at` is tracked, and about to be armed if its block is not vacant: as a whole if that is a huge page.
    pub fn recover(&mut self, at: LaneBlock, vacant: bool) {
        if vacant {
            self.unarmed.insert(at);
        } else if !self.is_huge(at.block()) {
            self.sparse.insert(at);
        }
    }

    /// Nothing in `block` is allocated, and its memory is gone. What has a table of pages is mapped anew, so that a huge page can take its place.
    pub fn vacate(&mut self, block: u32, site: &Site<'_>) {
        self.set_huge(block, false);
        for slot in (0..self.layout.slots()).map(SlotIndex) {
            let at = LaneBlock::new(slot, block);
            if self.sparse.contains(at) {
                let _ = site.mapping.remap(self.range(at));
                self.untracked.insert(at);
            }
            self.forget(at);
            self.unarmed.insert(at);
            // At once: what is not tracked is a mapping of its own, and their number is limited.
            self.is_tracked(at, site);
        }
    }

    /// Whether the tracker has yet to be told of `at`.
    pub fn is_untracked(&self, at: LaneBlock) -> bool {
        self.untracked.contains(at)
    }

    /// What was counted, of `lane_blocks` that are tracked.
    pub fn stats(&self, lane_frames: &[u32]) -> LadderStats {
        let [young, hot, sparse] = [&self.young, &self.hot, &self.sparse].map(|set| set.len() as u64);
        LadderStats {
            huge_blocks: self.huge.iter().filter(|huge| **huge).count() as u64,
            young,
            cold: lane_blocks(lane_frames) - sparse - self.unarmed.len() as u64,
            sparse,
            hot,
            shadow_bytes: self.shadows.bytes(),
            ..self.stats
        }
    }

    /// The slots of the frames of `block` that are marked as written because their lane-block woke.
    pub fn suspects(&self, block: u32) -> SlotMask {
        let all = (0..self.layout.slots()).map(SlotIndex);
        if self.suspects.len() == 0 {
            return SlotMask::EMPTY;
        }
        all.filter(|slot| self.suspects.contains(LaneBlock::new(*slot, block))).collect()
    }

    /// What was marked has been recorded.
    pub fn clear_suspects(&mut self) {
        self.suspects.clear();
    }

    /// Bytes of memory that the ladder takes.
    pub fn memory_bytes(&self) -> usize {
        let sets = [
            &self.young,
            &self.hot,
            &self.sparse,
            &self.bare,
            &self.born,
            &self.unarmed,
            &self.woken,
            &self.suspects,
            &self.untracked,
            &self.vouched,
        ];
        let sets = sets.map(|set| set.memory_bytes()).iter().sum::<usize>();
        sets + self.huge.capacity()
            + self.written.capacity() * 2
            + self.shadows.memory_bytes()
            + self.policy.memory_bytes()
    }

    /// Takes what the tracker found in the armed lane-blocks of a zone whose lanes are tracked as `lane_frames` says. Calls `mark` with a slot and the frames
    /// in which it was written.
    ///
    /// # Errors
    /// What the tracker reports. What was found by then has been marked.
    pub fn harvest(
        &mut self,
        tracker: &dyn WriteTracker,
        lane_frames: &[u32],
        mut mark: impl FnMut(SlotIndex, Range<u32>),
    ) -> Result<()> {
        for (slot, &frames) in (0..).map(SlotIndex).zip(&lane_frames[1..]) {
            let mut at = 0;
            while let Some(stretch) = without(&[&self.unarmed, &self.vouched], slot, at..frames) {
                at = stretch.end;
                self.harvest_stretch(tracker, slot, stretch, &mut mark)?;
            }
        }
        Ok(())
    }

    fn harvest_stretch(
        &mut self,
        tracker: &dyn WriteTracker,
        slot: SlotIndex,
        frames: Range<u32>,
        mark: &mut impl FnMut(SlotIndex, Range<u32>),
    ) -> Result<()> {
        self.stats.scans += 1;
        let range = lane_range(self.zone, LaneIndex(slot.0 + 1), frames.clone());
        let start = range.start;
        tracker.harvest(range, &mut |written| {
            let frame = |addr: u64| frames.start + ((addr - start) >> PAGE_SHIFT) as u32;
            self.note(slot, frame(written.start)..frame(written.end), mark);
        })
    }

    /// How many lane-blocks are cold.
    pub fn cold(&self, lane_frames: &[u32]) -> u64 {
        lane_blocks(lane_frames) - (self.unarmed.len() + self.sparse.len()) as u64
    }

    /// Whether something is vouched for.
    pub fn vouches(&self) -> bool {
        self.vouched.len() > 0
    }

    /// Nothing is vouched for any more.
    pub fn vouch_for_nothing(&mut self) {
        self.vouched.clear();
    }

    /// Harvests the cold lane-blocks in the lane of `slot`, of which `frames` are tracked, and vouches for those that are clean. Writers may go on.
    pub fn vouch(
        &mut self,
        tracker: &dyn WriteTracker,
        slot: SlotIndex,
        frames: u32,
        mut mark: impl FnMut(SlotIndex, Range<u32>),
    ) {
        let mut at = 0;
        while let Some(stretch) = without(&[&self.unarmed, &self.sparse], slot, at..frames) {
            at = stretch.end;
            // What failed has been marked as written, and is harvested again at the cut, which reports the error if it comes again.
            if self.harvest_stretch(tracker, slot, stretch.clone(), &mut mark).is_err() {
                continue;
            }
            for block in stretch.start / BLOCK_FRAMES..stretch.end / BLOCK_FRAMES {
                let here = LaneBlock::new(slot, block);
                if !self.woken.contains(here) {
                    self.vouched.insert(here);
                }
            }
        }
    }

    /// Harvests what was vouched for in the lane of `slot`. True if all of it is clean still (D5). Writers may go on.
    pub fn confirm(
        &mut self,
        tracker: &dyn WriteTracker,
        slot: SlotIndex,
        frames: u32,
        mut mark: impl FnMut(SlotIndex, Range<u32>),
    ) -> bool {
        let (mut at, mut clean) = (0, true);
        while let Some(first) = self.vouched.next_at_or_after(LaneBlock::new(slot, at / BLOCK_FRAMES)) {
            if first.slot() != slot || first.frames().start >= frames {
                break;
            }
            let end = self.vouched.next_gap(first);
            let end = if end.slot() == slot { end.frames().start.min(frames) } else { frames };
            at = end;
            let woken = self.woken.len();
            let harvested = self.harvest_stretch(tracker, slot, first.frames().start..end, &mut mark);
            clean &= harvested.is_ok() && self.woken.len() == woken;
        }
        clean
    }

    /// `slot` was written in `frames`: notes it for the lane-blocks that these lie in.
    fn note(&mut self, slot: SlotIndex, frames: Range<u32>, mark: &mut impl FnMut(SlotIndex, Range<u32>)) {
        let mut at = frames.start;
        while at < frames.end {
            let here = LaneBlock::new(slot, at / BLOCK_FRAMES);
            let end = frames.end.min(here.frames().end);
            if self.sparse.contains(here) {
                if here.index() >= self.written.len() {
                    self.written.resize(here.index() + 1, 0);
                }
                // After a scan that failed, the same slots may be reported again.
                let written = &mut self.written[here.index()];
                *written = (*written + (end - at) as u16).min(BLOCK_FRAMES as u16);
                mark(slot, at..end);
            } else {
                self.woken.insert(here);
                // One that has a shadow is compared with it at the cut.
                if !self.shadows.has(here) {
                    self.suspects.insert(here);
                    mark(slot, here.frames());
                }
            }
            at = end;
        }
    }

    /// Checks D1, D2 and D4 for lane-blocks that are tracked as `lane_frames` says, of which those that `fresh` tells have no slot that was handed out.
    ///
    /// # Panics
    /// If one of them is broken.
    pub fn check(&self, lane_frames: &[u32], fresh: impl Fn(LaneBlock) -> bool) {
        for (slot, &frames) in (0..).map(SlotIndex).zip(&lane_frames[1..]) {
            for at in (0..frames.div_ceil(BLOCK_FRAMES)).map(|block| LaneBlock::new(slot, block)) {
                let [young, hot, sparse] = [&self.young, &self.hot, &self.sparse].map(|set| set.contains(at));
                let (fresh, unarmed) = (fresh(at), self.unarmed.contains(at));
                let states = [young, hot, sparse, fresh].into_iter().filter(|is| *is).count();
                assert!(states <= 1, "D1: {at:?} is young {young}, hot {hot}, sparse {sparse}, fresh {fresh}");
                assert_eq!(unarmed, young || hot || fresh, "D2: {at:?}");
                let cold = states == 0;
                assert!(!cold && !young || self.coarse && self.is_huge(at.block()), "D4: {at:?}, young {young}");
                assert!(sparse || !self.bare.contains(at), "{at:?} is to be filled, and not sparse");
                assert!(cold || !self.vouched.contains(at), "{at:?} is vouched for, and not cold");
                assert!(!self.untracked.contains(at) || hot || fresh, "{at:?} is not tracked, and not hot");
                let shadow = self.shadows.has(at);
                assert!(shadow || !hot, "D3: {at:?} is hot, and has no shadow");
                assert!(
                    !shadow || hot || young || cold && self.shadows.has_bytes(at),
                    "the shadow of {at:?}, cold {cold}"
                );
            }
        }
    }

    /// From now on, hardly any cold lane-block has its bytes kept.
    #[cfg(all(test, not(any(miri, strewn_twin))))]
    pub fn keep_no_sentinels(&mut self) {
        self.sentinel_shift = 31;
    }

    /// From now on, the system has no memory for copies to compare with, or has some again.
    #[cfg(all(test, not(any(miri, strewn_twin))))]
    pub fn starve(&mut self, starved: bool) {
        self.shadows.starved = starved;
    }

    fn view<'a>(&self, at: LaneBlock, site: &Site<'a>) -> View<'a> {
        View { zone: self.zone, layout: self.layout, taken: site.taken, all: self.is_huge(at.block()) }
    }

    fn range(&self, at: LaneBlock) -> Range<u64> {
        lane_range(self.zone, LaneIndex(at.slot().0 + 1), at.frames())
    }
}

/// The first stretch of `frames`, in the lane of `slot`, of lane-blocks that are in none of `sets`.
fn without(sets: &[&LaneBlockSet; 2], slot: SlotIndex, frames: Range<u32>) -> Option<Range<u32>> {
    let mut from = LaneBlock::new(slot, frames.start / BLOCK_FRAMES);
    let in_lane = |at: LaneBlock| at.slot() == slot && at.frames().start < frames.end;
    while !frames.is_empty() && in_lane(from) {
        let gap = sets[1].next_gap(sets[0].next_gap(from));
        if gap == from {
            let ends = sets.iter().filter_map(|set| set.next_at_or_after(from));
            let end = ends.filter(|end| in_lane(*end)).map(|end| end.frames().start).min().unwrap_or(frames.end);
            return Some(from.frames().start.max(frames.start)..end);
        }
        from = gap;
    }
    None
}

/// Lane-blocks that are tracked, vacant ones included.
fn lane_blocks(lane_frames: &[u32]) -> u64 {
    lane_frames[1..].iter().map(|frames| u64::from(frames.div_ceil(BLOCK_FRAMES))).sum()
}

impl Site<'_> {
    /// Frames of the zone.
    fn frames(&self) -> u32 {
        self.lane_frames.iter().copied().max().unwrap_or(0)
    }
}
