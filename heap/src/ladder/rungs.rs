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

use super::policy::{Eager, Policy, Room, Rung, Seen, Written};
use super::shadow::{Look, Shadows, View};
use super::{LadderStats, State};
use crate::arena::lane_range;
use crate::base::{
    BLOCK_FRAMES, FrameIndex, LaneBlock, LaneBlockSet, LaneIndex, PAGE_SHIFT, Result, SlotIndex, SlotLayout, SlotMask,
    ZoneNumber,
};
use crate::sys::ZoneMapping;
use crate::track::WriteTracker;
use std::ops::Range;

/// Lane-blocks that one cut may map anew because they have cooled: 18 us each, in the pause.
const COOLED_A_CUT: u32 = 16;

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
    /// The lane-block that fresh slots come from.
    pub filling: Option<LaneBlock>,
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

    /// Looks at what was not armed, asks the policy about every lane-block that may have to move, and moves it. Calls `mark` as
    /// [`Ladder::harvest`] does.
    pub fn climb(&mut self, site: &Site<'_>, mut mark: impl FnMut(SlotIndex, Range<u32>)) {
        self.stats.cold_scanned += self.cold(site.lane_frames);
        let mut asked = LaneBlockSet::default();
        for set in [&self.young, &self.hot, &self.sparse, &self.woken] {
            asked.absorb(set);
        }
        let mut cooled = COOLED_A_CUT;
        // Those with a shadow first: what has been counted there helps to decide about the others.
        let counted: Vec<_> = asked.iter().filter(|at| self.shadows.has(*at)).collect();
        counted.iter().for_each(|at| asked.remove(*at));
        for at in counted.into_iter().chain(asked.iter()) {
            let Some((state, seen)) = self.see(at, site, &mut mark) else { continue };
            let rung = match self.policy.decide(at, seen) {
                Rung::Hot(Eager::Compare) if seen.room < Room::Compare => Rung::Hot(Eager::Copy),
                Rung::Hot(Eager::Count) if seen.room < Room::Count => Rung::Hot(Eager::Copy),
                rung => rung,
            };
            // What was written and cools all the same is cheaper off its pages at once.
            let idle = seen.written == Written::Exactly(0);
            let mut at_once = 1;
            self.step(at, state, rung, site, if idle { &mut cooled } else { &mut at_once });
        }
        self.woken.clear();
        let refined = self.policy.refine_cold(self.cold(site.lane_frames));
        self.refine_cold(refined, site, &mut mark);
        self.policy.end_epoch();
    }

    /// Makes `count` of the cold lane-blocks sparse.
    fn refine_cold(&mut self, count: u32, site: &Site<'_>, mark: &mut impl FnMut(SlotIndex, Range<u32>)) {
        let mut left = count;
        for (slot, &frames) in (0..).map(SlotIndex).zip(&site.lane_frames[1..]) {
            for block in 0..frames / BLOCK_FRAMES {
                let at = LaneBlock::new(slot, block);
                if left == 0 {
                    return;
                }
                let cold = !self.sparse.contains(at) && !self.unarmed.contains(at) && !self.shadows.has(at);
                if cold && self.policy.refines(at) {
                    left -= 1;
                    // One that is vouched for has not been harvested at this cut, and may hold a write.
                    let harvested = !self.vouched.contains(at)
                        || self.harvest_stretch(site.tracker, slot, at.frames(), mark).is_ok();
                    if harvested {
                        self.refine(at, true, site);
                        self.woken.remove(at);
                    }
                }
            }
        }
    }

    /// The state of `at`, and what the policy is told of it. None if it is still being filled.
    fn see(
        &mut self,
        at: LaneBlock,
        site: &Site<'_>,
        mark: &mut impl FnMut(SlotIndex, Range<u32>),
    ) -> Option<(State, Seen)> {
        let slot = at.slot();
        let room = self.shadows.room(at, &self.view(at, site), site.frames());
        let seen = |state, written| Some((state, Seen { state, written, room }));
        if self.sparse.contains(at) {
            let tracked = site.lane_frames[usize::from(slot.0) + 1].min(at.frames().end) - at.frames().start;
            self.stats.slots_scanned += u64::from(tracked);
            let written = self.written.get_mut(at.index()).map_or(0, std::mem::take);
            if self.born.contains(at) {
                self.born.remove(at);
                return Some((State::Sparse, Seen { state: State::Young, written: Written::Some, room }));
            }
            self.stats.faults += u64::from(written);
            self.stats.written_not_predicted += u64::from(written > 0);
            return seen(State::Sparse, Written::Exactly(written));
        }
        if self.woken.contains(at) {
            self.stats.faults += 1;
            self.stats.wakes += 1;
            self.stats.written_not_predicted += 1;
            if !self.shadows.has(at) {
                return seen(State::Cold, Written::Some);
            }
        }
        let view = self.view(at, site);
        let one = |frame: FrameIndex| mark(slot, frame.0..frame.0 + 1);
        // SAFETY: a lane-block that is hot, young or has a shadow is tracked for the whole of its block, so the block's frames are mapped. The world is stopped: objects are
        // written only inside sections.
        let look = unsafe { self.shadows.look(at, &view, one) };
        if self.young.contains(at) {
            if let Look::Compared(_) = look {
                self.stats.eager_compares += u64::from(BLOCK_FRAMES);
            }
            if site.filling == Some(at) {
                // SAFETY: as above.
                unsafe { self.shadows.keep_bytes(at, &view) };
            }
            // There was no memory for the bytes: the checksum does not tell what has changed.
            if matches!(look, Look::Summed { .. }) {
                mark(slot, at.frames());
            }
            if site.filling == Some(at) {
                return None;
            }
            return seen(State::Young, Written::Some);
        }
        let written = match look {
            Look::Compared(count) => {
                self.stats.eager_compares += u64::from(BLOCK_FRAMES);
                Written::Exactly(count)
            }
            Look::Summed { changed } => {
                debug_assert!(self.hot.contains(at), "a cold lane-block's shadow has bytes");
                self.stats.eager_copies += u64::from(BLOCK_FRAMES);
                mark(slot, at.frames());
                if changed { Written::Some } else { Written::Exactly(0) }
            }
            Look::Unknown => unreachable!("D3: a hot lane-block has a shadow"),
        };
        if !self.hot.contains(at) {
            return seen(State::Cold, written);
        }
        self.stats.predicted_not_written += u64::from(written == Written::Exactly(0));
        seen(State::Hot, written)
    }

    /// Moves `at` from `state` to `rung`, or as near to it as the zone allows.
    fn step(&mut self, at: LaneBlock, state: State, rung: Rung, site: &Site<'_>, cooled: &mut u32) {
        let coarse = self.coarse && self.is_huge(at.block());
        let whole = site.lane_frames[usize::from(at.slot().0) + 1] >= at.frames().end;
        let rung = match rung {
            Rung::Cold if !coarse => Rung::Sparse,
            Rung::Hot(_) if !whole => Rung::Sparse,
            Rung::Cold if state == State::Sparse && *cooled == 0 => Rung::Sparse,
            rung => rung,
        };
        match (state, rung) {
            (State::Cold, Rung::Cold) | (State::Sparse, Rung::Sparse) => {}
            (_, Rung::Hot(eager)) => self.heat(at, state, eager, coarse, site),
            (State::Sparse, Rung::Cold) => {
                *cooled -= 1;
                self.cool(at, site);
            }
            (State::Cold, Rung::Sparse) => self.refine(at, coarse, site),
            (State::Young | State::Hot, Rung::Cold) => self.arm(at, site),
            (State::Young | State::Hot, Rung::Sparse) => self.refine(at, coarse, site),
        }
    }

    /// To hot, from anywhere.
    fn heat(&mut self, at: LaneBlock, state: State, eager: Eager, coarse: bool, site: &Site<'_>) {
        if state == State::Sparse && coarse {
            // Its pages are armed: each would fault once more. One huge page, unarmed, does not.
            self.map_coarse(at, site);
        }
        self.sparse.remove(at);
        self.young.remove(at);
        self.hot.insert(at);
        self.unarmed.insert(at);
        let view = self.view(at, site);
        // SAFETY: the lane-block is tracked as a whole, so its frames are mapped; the world is stopped.
        unsafe {
            match eager {
                Eager::Compare | Eager::Count => self.shadows.keep_bytes(at, &view),
                Eager::Copy => self.shadows.keep_sum(at, &view),
            }
        }
    }

    /// From sparse to cold.
    fn cool(&mut self, at: LaneBlock, site: &Site<'_>) {
        if self.map_coarse(at, site) {
            self.arm(at, site);
        }
        if self.untracked.contains(at) {
            self.heat(at, State::Hot, Eager::Copy, true, site);
        }
    }

    /// From young or hot to cold.
    fn arm(&mut self, at: LaneBlock, site: &Site<'_>) {
        if self.is_tracked(at, site) {
            self.forget(at);
            self.keep_sentinel(at, site);
            // What could not be armed counts as written.
            let _ = site.tracker.arm(self.range(at));
        }
    }

    /// Keeps the bytes of `at`, which has just become cold, if it is one of the few cold ones whose bytes are kept: when they wake, it is known at once how
    /// much is written to lane-blocks that wake.
    pub fn keep_sentinel(&mut self, at: LaneBlock, site: &Site<'_>) {
        let view = self.view(at, site);
        // By a multiplicative hash (Knuth), so that neither lanes nor blocks are left out.
        let chosen = (at.0 + 1).wrapping_mul(2_654_435_769) >> (32 - self.sentinel_shift) == 0;
        if chosen && self.shadows.room(at, &view, site.frames()) == Room::Compare {
            // SAFETY: the lane-block is tracked as a whole, so its frames are mapped; the world is stopped, or not yet running.
            unsafe { self.shadows.keep_bytes(at, &view) };
            if !self.shadows.has_bytes(at) {
                self.shadows.drop(at);
            }
        }
    }

    /// From cold, young or hot to sparse.
    fn refine(&mut self, at: LaneBlock, coarse: bool, site: &Site<'_>) {
        if self.is_tracked(at, site) {
            self.forget(at);
            self.sparse.insert(at);
            self.stats.refined += u64::from(coarse);
            // What could not be armed counts as written.
            let _ = if coarse { site.tracker.refine(self.range(at)) } else { site.tracker.arm(self.range(at)) };
        }
    }

    /// Takes the table of pages from `at`, so that its huge page is mapped as such, and not armed. False if the kernel refused.
    fn map_coarse(&mut self, at: LaneBlock, site: &Site<'_>) -> bool {
        let range = self.range(at);
        let mapped = site.mapping.remap(range.clone()).is_ok();
        self.stats.coarsened += u64::from(mapped);
        if mapped {
            // What is not mapped now is mapped when it is touched.
            let _ = site.mapping.map_backed(range, self.layout.byte_of(at.slot()));
        }
        // Even if the call failed, it may have ended the tracking.
        self.untracked.insert(at);
        self.is_tracked(at, site) && mapped
    }

    /// Whether the tracker knows of `at`; tells it if not.
    fn is_tracked(&mut self, at: LaneBlock, site: &Site<'_>) -> bool {
        if self.untracked.contains(at) {
            // SAFETY: the range lies in a lane of the zone, which lives as long as the ladder, and the tracker is dropped before.
            if unsafe { site.tracker.track(self.range(at)) }.is_err() {
                return false;
            }
            self.untracked.remove(at);
        }
        true
    }

    /// Takes `at` out of every set.
    fn forget(&mut self, at: LaneBlock) {
        for set in
            [&mut self.young, &mut self.hot, &mut self.sparse, &mut self.born, &mut self.unarmed, &mut self.woken]
        {
            set.remove(at);
        }
        self.vouched.remove(at);
        self.shadows.drop(at);
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
