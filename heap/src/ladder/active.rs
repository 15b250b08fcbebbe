//! The active lists of Speculative Memory Checkpointing (Vogt et al., Middleware 2015): what was written lately is
//! predicted to be written again, and copied at each cut instead of caught by faults. They differ in how it leaves.
//!
//! What the paper says of pages is said of lane-blocks here, because they are what can be armed or not. A page costs
//! one fault or one copy; a lane-block costs a fault for each slot that is written, or 512 copies. So predicting too
//! much costs more here than there.

use super::State;
use super::policy::{Eager, Policy, Rung, Seen, Written};
use super::rng::Rng;
use crate::base::{LaneBlock, LaneBlockSet};

/// Where predicted lane-blocks stand.
const PREDICTED: Rung = Rung::Hot(Eager::Copy);
/// Where all others stand.
const OTHERS: Rung = Rung::Sparse;

/// The longest list of [`ActiveRnd`]. Each member is 512 slots copied at every cut, so this is 131072 of them: 15 ms at
/// the 112 ns that a scattered slot of 64 bytes was measured to take.
const MEMBERS_MAX: usize = 256;
/// Where the random choices of [`ActiveRnd`] start. Any number would do.
const SEED: u64 = 0x5EED_0001;
/// Epochs in a row without a change after which a member of [`ActiveCks`] leaves: the paper's N.
const UNCHANGED_EPOCHS: u8 = 5;

/// Active-RND: a bounded list of what faulted. When it is full, a random member makes room.
///
/// No cut answers [`Rung::Hot`] more often than the list is long. To keep that although answers can not be taken back,
/// a newcomer whose place was that of a member that this cut has already called hot waits for the next cut.
pub struct ActiveRnd {
    members: Vec<LaneBlock>,
    /// The same members.
    predicted: LaneBlockSet,
    /// How many there may be.
    bound: usize,
    rng: Rng,
}

impl ActiveRnd {
    /// An empty list.
    pub fn new() -> Self {
        Self::with_bound(MEMBERS_MAX)
    }

    fn with_bound(bound: usize) -> Self {
        Self { members: Vec::new(), predicted: LaneBlockSet::default(), bound, rng: Rng::new(SEED) }
    }

    /// Puts `at` on the list. True if that leaves it a place among the hot ones of this very cut.
    fn enter(&mut self, at: LaneBlock) -> bool {
        self.predicted.insert(at);
        if self.members.len() < self.bound {
            self.members.push(at);
            return true;
        }
        let place = self.rng.below(self.members.len() as u64) as usize;
        let leaver = std::mem::replace(&mut self.members[place], at);
        self.predicted.remove(leaver);
        // Cuts ask in ascending order: a higher one has yet to be asked, and will not be hot.
        leaver > at
    }
}

impl Policy for ActiveRnd {
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung {
        if self.predicted.contains(at) {
            return PREDICTED;
        }
        // A hot one that is not on the list has just left it: it took no fault, whatever was written.
        let armed = matches!(seen.state, State::Sparse | State::Cold);
        if armed && seen.written != Written::Exactly(0) && self.enter(at) { PREDICTED } else { OTHERS }
    }

    fn memory_bytes(&self) -> usize {
        self.members.capacity() * size_of::<LaneBlock>() + self.predicted.memory_bytes()
    }
}

/// Active-CKS: an unbounded set of what was written. What has not changed for 5 epochs in a row leaves.
#[derive(Default)]
pub struct ActiveCks {
    /// By lane-block: after how many more epochs without a change it leaves; 0 if it is not in the set.
    epochs_left: Vec<u8>,
}

impl ActiveCks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is left to `at`, which may be 0.
    fn left(&mut self, at: LaneBlock) -> &mut u8 {
        if at.index() >= self.epochs_left.len() {
            self.epochs_left.resize(at.index() + 1, 0);
        }
        &mut self.epochs_left[at.index()]
    }
}

impl Policy for ActiveCks {
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung {
        let left = self.left(at);
        *left = match (seen.state, seen.written) {
            // Births say nothing of writes to come.
            (State::Young, _) => *left,
            (_, Written::Exactly(0)) => left.saturating_sub(1),
            _ => UNCHANGED_EPOCHS,
        };
        if *left > 0 { PREDICTED } else { OTHERS }
    }

    fn memory_bytes(&self) -> usize {
        self.epochs_left.capacity()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::super::policy::Room;
    use super::*;
    use crate::base::ZONE_BLOCKS;

    const NOTHING: Written = Written::Exactly(0);

    /// The rungs that one cut gives to lane-blocks 0, 1, ... where `rungs` says what they had, and `written` what was.
    fn cut(policy: &mut impl Policy, rungs: &[Rung], written: impl Fn(usize) -> bool) -> Vec<Rung> {
        let seen = |i: usize| Seen {
            state: if rungs[i] == PREDICTED { State::Hot } else { State::Sparse },
            written: if written(i) { Written::Some } else { NOTHING },
            room: Room::None,
        };
        let rungs = (0..rungs.len()).map(|i| policy.decide(LaneBlock(i as u32), seen(i))).collect();
        policy.end_epoch();
        rungs
    }

    fn hot(rungs: &[Rung]) -> usize {
        rungs.iter().filter(|&&rung| rung == PREDICTED).count()
    }

    #[test]
    fn both_take_what_was_written_and_nothing_else() {
        let (mut rnd, mut cks) = (ActiveRnd::new(), ActiveCks::new());
        for policy in [&mut rnd as &mut dyn Policy, &mut cks] {
            let mut decide = |at, state, written| {
                policy.decide(LaneBlock(at), Seen { state, written, room: Room::None }) == Rung::Hot(Eager::Copy)
            };
            assert!(decide(1, State::Sparse, Written::Exactly(3)));
            assert!(decide(2, State::Cold, Written::Some));
            assert!(!decide(3, State::Sparse, NOTHING));
            assert!(!decide(4, State::Young, Written::Exactly(512)));
            assert!(decide(1, State::Young, Written::Exactly(512)), "predicted, so its being refilled changes nothing");
        }
    }

    #[test]
    fn rnd_keeps_what_is_never_written_again_while_there_is_room() {
        let mut policy = ActiveRnd::with_bound(10);
        let mut rungs = cut(&mut policy, &[OTHERS; 10], |_| true);
        for _ in 0..100 {
            rungs = cut(&mut policy, &rungs, |_| false);
        }
        assert_eq!(hot(&rungs), 10);
    }

    #[test]
    fn rnd_never_has_more_hot_than_its_bound_however_many_are_written() {
        let (mut policy, mut coins) = (ActiveRnd::with_bound(10), Rng::new(7));
        let mut rungs = vec![OTHERS; 300];
        for epoch in 0..200 {
            let written: Vec<bool> = rungs.iter().map(|_| coins.below(8) <= epoch % 8).collect();
            rungs = cut(&mut policy, &rungs, |i| written[i]);
            assert!(hot(&rungs) <= 10, "epoch {epoch}: {}", hot(&rungs));
            assert_eq!((policy.members.len(), policy.predicted.iter().count()), (10, 10));
            assert!(policy.members.iter().all(|&member| policy.predicted.contains(member)));
        }
    }

    #[test]
    fn rnd_evicts_the_same_members_in_every_run() {
        let run = || {
            let mut policy = ActiveRnd::with_bound(10);
            let mut rungs = vec![OTHERS; 100];
            let mut epoch = |n: usize| {
                rungs = cut(&mut policy, &rungs, |i| i % 7 == n % 7);
                rungs.clone()
            };
            (0..50).map(&mut epoch).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn rnd_does_not_let_a_leaver_back_in_before_it_faults() {
        let mut policy = ActiveRnd::with_bound(1);
        let rungs = cut(&mut policy, &[OTHERS; 2], |i| i == 0);
        assert_eq!(rungs, [PREDICTED, OTHERS]);
        // 0 has been called hot when 1 takes its place: 1 has to wait, and 0 to go.
        let rungs = cut(&mut policy, &rungs, |_| true);
        assert_eq!(rungs, [PREDICTED, OTHERS]);
        let rungs = cut(&mut policy, &rungs, |_| true);
        assert_eq!(rungs, [OTHERS, PREDICTED]);
        // 1 has yet to be asked when 0 takes its place, so that is done at once.
        let rungs = cut(&mut policy, &rungs, |_| true);
        assert_eq!(rungs, [PREDICTED, OTHERS]);
    }

    #[test]
    fn cks_lets_go_after_exactly_five_epochs_in_a_row() {
        let mut policy = ActiveCks::new();
        let mut rungs = cut(&mut policy, &[OTHERS], |_| true);
        for unchanged in [4, 4, 5] {
            for _ in 0..unchanged {
                assert_eq!(rungs, [PREDICTED]);
                rungs = cut(&mut policy, &rungs, |_| false);
            }
            assert_eq!(rungs, [if unchanged < 5 { PREDICTED } else { OTHERS }]);
            if unchanged < 5 {
                rungs = cut(&mut policy, &rungs, |_| true);
            }
        }
        assert_eq!(cut(&mut policy, &rungs, |_| false), [OTHERS]);
        assert_eq!(cut(&mut policy, &rungs, |_| true), [PREDICTED]);
    }

    #[test]
    fn a_full_zone_takes_little_memory() {
        let lane_blocks = 256 * ZONE_BLOCKS as usize;
        let all = vec![OTHERS; lane_blocks];
        let (mut rnd, mut cks) = (ActiveRnd::new(), ActiveCks::new());
        assert_eq!(hot(&cut(&mut rnd, &all, |_| true)), MEMBERS_MAX);
        assert_eq!(hot(&cut(&mut cks, &all, |_| true)), lane_blocks);
        // A bit and a byte a lane-block, and twice that while a `Vec` grows.
        assert!(rnd.memory_bytes() <= lane_blocks / 4 + 2048, "{}", rnd.memory_bytes());
        assert!(cks.memory_bytes() <= 2 * lane_blocks, "{}", cks.memory_bytes());
    }
}
