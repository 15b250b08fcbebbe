//! Random scripts on random writes. [`Lab::cut`] finds out what was lost.

use super::*;
use crate::sys::refuse::{can_refuse, refusing};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const CASES: u32 = 100;
const OPS_MAX: usize = 100;
const BLOCKS: u32 = 3;
const SLOTS: u16 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Takes more slots of a lane-block: of one that is filled to its end, those that are free.
    Take {
        at: LaneBlock,
        count: u32,
    },
    /// Frees slots of a lane-block that is not being filled.
    Free {
        at: LaneBlock,
        first: u32,
        count: u32,
    },
    Write {
        at: LaneBlock,
        first: u32,
        step: u32,
    },
    /// From now on the policy says this of the lane-block.
    Order {
        at: LaneBlock,
        rung: Rung,
    },
    /// The policy says that so many cold ones become sparse.
    RefineCold(u32),
    /// All of a block is freed, and its memory given back.
    Vacate(u32),
    /// From now on there is no memory for copies, or there is.
    Starve(bool),
    /// A cut, or the vacating of a block, during which the kernel refuses calls in one of the ways of [`refused::refusals`].
    CutRefused(usize),
    VacateRefused {
        block: u32,
        how: usize,
    },
    /// A block becomes a huge page: one filled by pages, or one that is vacant.
    Collapse(u32),
    Cut,
    /// A cut at which calls of the tracker fail after so many.
    Fails {
        harvests: u32,
        tracks: u32,
        arms: u32,
    },
}

fn lane_block() -> impl Strategy<Value = LaneBlock> {
    (0..SLOTS, 0..BLOCKS).prop_map(|(slot, block)| at(slot, block))
}

fn op() -> impl Strategy<Value = Op> {
    let rung = proptest::sample::select(&RUNGS[..]);
    let take =
        (lane_block(), prop_oneof![1u32..100, Just(BLOCK_FRAMES)]).prop_map(|(at, count)| Op::Take { at, count });
    let free = (lane_block(), 0..BLOCK_FRAMES, 1u32..100);
    let write = (lane_block(), 0..BLOCK_FRAMES, 1..BLOCK_FRAMES);
    let calls = || prop_oneof![Just(NEVER), 0u32..4];
    prop_oneof![
        4 => take,
        2 => free.prop_map(|(at, first, count)| Op::Free { at, first, count }),
        8 => write.prop_map(|(at, first, step)| Op::Write { at, first, step }),
        8 => (lane_block(), rung).prop_map(|(at, rung)| Op::Order { at, rung }),
        1 => (0u32..4).prop_map(Op::RefineCold),
        1 => (0..BLOCKS).prop_map(Op::Vacate),
        1 => (0..BLOCKS).prop_map(Op::Collapse),
        1 => any::<bool>().prop_map(Op::Starve),
        8 => Just(Op::Cut),
        1 => (0usize..4).prop_map(Op::CutRefused),
        1 => (0..BLOCKS, 0usize..4).prop_map(|(block, how)| Op::VacateRefused { block, how }),
        2 => (calls(), calls(), calls()).prop_map(|(harvests, tracks, arms)| Op::Fails { harvests, tracks, arms }),
    ]
}

impl Lab {
    fn step(&mut self, op: Op) {
        match op {
            Op::Take { at, count } => self.take_some(at, count),
            Op::Free { at, first, count } if self.filling != Some(at) => {
                let taken: Vec<u32> =
                    self.taken_of(at).filter(|place| (first..first + count).contains(place)).collect();
                // One stays, so that the lane-block counts as handed out.
                self.free(at, taken.into_iter().skip(1));
            }
            Op::Free { .. } => {}
            Op::Write { at, first, step } => {
                let taken: Vec<u32> = self.taken_of(at).filter(|at| *at >= first && (at - first) % step == 0).collect();
                self.write(at, taken);
            }
            Op::Order { at, rung } => self.order_for(at, rung),
            Op::RefineCold(count) => self.script().refine_cold = count,
            Op::Vacate(block) => self.vacate_any(block),
            Op::CutRefused(how) => _ = refusing(&refused::refusals()[how], || self.cut()),
            Op::VacateRefused { block, how } => refusing(&refused::refusals()[how], || self.vacate_any(block)),
            Op::Collapse(block) => {
                if self.filling.is_none_or(|at| at.block() != block) {
                    self.collapse(block);
                }
            }
            Op::Starve(starved) => self.ladder.starve(starved),
            Op::Cut => _ = self.cut(),
            Op::Fails { harvests, tracks, arms } => {
                let Fuses { harvest, track, arm, refine, .. } = &*self.fuses;
                for (fuse, calls) in [(harvest, harvests), (track, tracks), (arm, arms), (refine, arms)] {
                    fuse.set(calls);
                }
                let cut = self.try_cut();
                assert!(cut.is_ok() || harvests != NEVER);
                let Fuses { harvest, track, arm, refine, .. } = &*self.fuses;
                [harvest, track, arm, refine].iter().for_each(|fuse| fuse.set(NEVER));
            }
        }
    }

    fn vacate_any(&mut self, block: u32) {
        self.filling = self.filling.filter(|at| at.block() != block);
        self.vacate(block);
    }

    fn taken_of(&self, at: LaneBlock) -> impl Iterator<Item = u32> + use<> {
        let places: Vec<u32> = self.recorded.range((at, 0)..(at, BLOCK_FRAMES)).map(|((_, place), _)| *place).collect();
        places.into_iter()
    }

    /// Fresh slots come from one lane-block at a time; another one is filled up before.
    fn take_some(&mut self, at: LaneBlock, count: u32) {
        let free = |lab: &Self, at, from: u32| {
            let taken: BTreeSet<u32> = lab.taken_of(at).collect();
            (from..BLOCK_FRAMES).filter(move |place| !taken.contains(place)).take(count as usize).collect::<Vec<u32>>()
        };
        if let Some(other) = self.filling.filter(|other| *other != at) {
            let first = self.taken_of(other).last().map_or(0, |last| last + 1);
            self.take(other, first..BLOCK_FRAMES);
            self.filling = None;
        }
        if self.taken_of(at).next().is_none() {
            self.begin(at);
            self.filling = Some(at);
        }
        let places = free(self, at, 0);
        self.take(at, places);
        if self.taken_of(at).any(|place| place == BLOCK_FRAMES - 1) {
            self.filling = None;
        }
    }
}

/// Runs random operations on zones with a tracker of `kind`.
fn check(kind: TrackerKind, coarse: bool) {
    if coarse && !huge_lanes_are_there() {
        return;
    }
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let refuses = can_refuse();
    let is_possible = |op: &Op| refuses || !matches!(op, Op::CutRefused(_) | Op::VacateRefused { .. });
    let strategy = (any::<bool>(), proptest::collection::vec(op(), 1..OPS_MAX));
    let checked = TestRunner::new(config).run(&strategy, |(huge, ops)| {
        let Some(mut lab) = Lab::new(kind, BLOCKS * BLOCK_FRAMES, coarse) else { return Ok(()) };
        if huge && coarse {
            (0..BLOCKS).for_each(|block| _ = lab.collapse(block));
            lab.script().fills = true;
        }
        for op in ops.into_iter().filter(is_possible) {
            lab.step(op);
        }
        lab.cut();
        Ok(())
    });
    checked.unwrap_or_else(|e| panic!("{kind} tracker: {e}"));
}

#[test]
fn no_script_loses_a_write_by_huge_pages() {
    check(TrackerKind::Async, true);
}

#[test]
fn no_script_loses_a_write_by_pages() {
    check(TrackerKind::Async, false);
    check(TrackerKind::Signal, false);
}
