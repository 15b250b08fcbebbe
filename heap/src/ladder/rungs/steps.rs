//! The steps from rung to rung: what [`super`]'s invariants are kept by, while the world is stopped.

use super::super::State;
use super::super::policy::{Eager, Room, Rung, Seen, Written};
use super::super::shadow::{Look, View};
use super::{Ladder, Site};
use crate::arena::Marked;
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneBlock, LaneBlockSet, SlotIndex};
use std::ops::Range;

/// Lane-blocks that one cut may map anew because they have cooled: 18 us each, in the pause.
const COOLED_A_CUT: u32 = 16;

/// Sparse lane-blocks that one cut may fill: 42 us each, in the pause.
const FILLED_A_CUT: u32 = if cfg!(test) { 2 } else { 200 };

impl Ladder {
    /// Looks at what was not armed, asks the policy about every lane-block that may have to move, and moves it. Calls `mark` as
    /// [`Ladder::harvest`] does.
    pub fn climb(&mut self, site: &Site<'_>, mut mark: impl FnMut(SlotIndex, Range<u32>)) {
        self.stats.cold_scanned += self.cold(site.lane_frames);
        self.shadows.exempt(site.filling);
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
        self.fill(site);
    }

    /// These slots were written past the tracker, and are marked as written already. If they are to be compared with what they were at the last cut, it is with what
    /// they are now instead: what is written next, perhaps by hardware, may make them what they were. See B5 in `arena/barrier.rs`.
    pub fn keep_up(&mut self, marked: &Marked, taken: &[u64]) {
        let at = marked.at;
        let view = View { zone: self.zone, layout: self.layout, taken, all: self.is_huge(at.block()) };
        // SAFETY: a lane-block that has a shadow is tracked for the whole of its block, so the block's frames are mapped; the world is stopped.
        unsafe { self.shadows.keep_up(at, &view, marked.frames()) };
    }

    /// Makes some of the sparse lane-blocks cheaper to write.
    fn fill(&mut self, site: &Site<'_>) {
        for _ in 0..FILLED_A_CUT {
            let Some(at) = self.bare.first() else { return };
            self.bare.remove(at);
            self.stats.filled += 1;
            if site.tracker.fill(self.range(at)).is_err() {
                self.untracked.insert(at);
                self.sparse.remove(at);
                self.heat(at, State::Hot, Eager::Copy, true, site);
            }
        }
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
            if site.filling.contains(&at) {
                // SAFETY: as above.
                unsafe { self.shadows.keep_bytes(at, &view) };
            }
            // There was no memory for the bytes: the checksum does not tell what has changed.
            if matches!(look, Look::Summed { .. }) {
                mark(slot, at.frames());
            }
            if site.filling.contains(&at) {
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
        self.bare.remove(at);
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
            if coarse && self.policy.fills() {
                self.bare.insert(at);
            }
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
    pub(super) fn is_tracked(&mut self, at: LaneBlock, site: &Site<'_>) -> bool {
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
    pub(super) fn forget(&mut self, at: LaneBlock) {
        for set in [
            &mut self.young,
            &mut self.hot,
            &mut self.sparse,
            &mut self.bare,
            &mut self.born,
            &mut self.unarmed,
            &mut self.woken,
        ] {
            set.remove(at);
        }
        self.vouched.remove(at);
        self.shadows.drop(at);
    }
}
