//! The policy on lane-blocks that are made up: where it puts them, how soon, and what that costs.

use super::*;
use crate::base::{BLOCK_FRAMES, SlotIndex, ZONE_BLOCKS};
use crate::ladder::rng::Rng;
use crate::track::TrackerKind;

const ALL: u16 = BLOCK_FRAMES as u16;
const EPOCHS: u32 = 600;

fn layout(slot_bytes: u16) -> SlotLayout {
    SlotLayout::new(slot_bytes).unwrap()
}

fn policy(slot_bytes: u16) -> Adaptive {
    Adaptive::new(layout(slot_bytes), Costs::new(layout(slot_bytes), TrackerKind::Async, true))
}

/// Lane-blocks as the ladder moves them, without the ladder.
struct Sim {
    policy: Adaptive,
    room: Room,
    /// Where each stands; none while it is young.
    rungs: Vec<Option<Rung>>,
    /// How often one went to another state, and what that took, in nanoseconds.
    moves: u32,
    moving: f32,
    probes_max: usize,
}

fn state_on(rung: Rung) -> State {
    match rung {
        Rung::Cold => State::Cold,
        Rung::Sparse => State::Sparse,
        Rung::Hot(_) => State::Hot,
    }
}

impl Sim {
    fn new(slot_bytes: u16, lane_blocks: usize) -> Self {
        let policy = policy(slot_bytes);
        Self { policy, room: Room::Compare, rungs: vec![None; lane_blocks], moves: 0, moving: 0.0, probes_max: 0 }
    }

    fn at(i: usize) -> LaneBlock {
        LaneBlock::new(SlotIndex(0), i as u32)
    }

    /// One epoch, in which `written` says how many slots of each lane-block are.
    fn epoch(&mut self, mut written: impl FnMut(usize) -> u16) {
        let (mut probes, mut cold) = (0, 0);
        for i in 0..self.rungs.len() {
            let (before, count) = (self.rungs[i], written(i));
            let (state, told) = match before {
                None => (State::Young, Written::Some),
                Some(Rung::Cold) if count == 0 => {
                    cold += 1;
                    continue;
                }
                Some(Rung::Cold) => (State::Cold, Written::Some),
                Some(Rung::Hot(Eager::Copy)) if count > 0 => (State::Hot, Written::Some),
                Some(Rung::Hot(_)) => (State::Hot, Written::Exactly(count)),
                Some(Rung::Sparse) => (State::Sparse, Written::Exactly(count)),
            };
            let rung = self.policy.decide(Self::at(i), Seen { state, written: told, room: self.room });
            let room = match rung {
                Rung::Hot(Eager::Compare) => Room::Compare,
                Rung::Hot(Eager::Count) => Room::Count,
                _ => Room::None,
            };
            assert!(room <= self.room, "asked for {rung:?} with room {:?}", self.room);
            probes += usize::from(state == State::Cold && rung == Rung::Hot(Eager::Count));
            self.go(i, rung);
        }
        self.refine(cold);
        self.policy.end_epoch();
        self.probes_max = self.probes_max.max(probes);
    }

    fn refine(&mut self, cold: u64) {
        let refined = self.policy.refine_cold(cold) as usize;
        for i in 0..refined.min(self.rungs.len()) {
            if self.rungs[i] == Some(Rung::Cold) && self.policy.refines(Self::at(i)) {
                self.go(i, Rung::Sparse);
            }
        }
    }

    fn go(&mut self, i: usize, rung: Rung) {
        if let Some(before) = self.rungs[i].replace(rung).map(state_on)
            && before != state_on(rung)
        {
            self.moves += 1;
            self.moving += match (before, rung) {
                (State::Sparse, _) => 18_000.0,
                (_, Rung::Sparse) => 9_000.0,
                _ => 3_000.0,
            };
        }
    }

    fn run(&mut self, epochs: u32, mut written: impl FnMut(u32, usize) -> u16) {
        (0..epochs).for_each(|epoch| self.epoch(|i| written(epoch, i)));
    }

    fn count(&self, rung: impl Fn(Rung) -> bool) -> usize {
        self.rungs.iter().filter(|at| at.is_some_and(&rung)).count()
    }

    fn sparse(&self) -> usize {
        self.count(|rung| rung == Rung::Sparse)
    }

    fn cold(&self) -> usize {
        self.count(|rung| rung == Rung::Cold)
    }
}

#[test]
fn what_is_written_densely_is_not_caught_slot_by_slot() {
    for (slot_bytes, room) in [16, 64, 256].into_iter().flat_map(|bytes| [(bytes, Room::None), (bytes, Room::Compare)])
    {
        let mut sim = Sim::new(slot_bytes, 40);
        sim.room = room;
        sim.run(EPOCHS, |_, _| ALL);
        assert_eq!(sim.sparse(), 0, "{slot_bytes} bytes, room {room:?}: {:?}", sim.rungs);
        // An idle epoch now and then does not change that.
        sim.run(EPOCHS, |epoch, _| if epoch % 10 == 0 { 0 } else { ALL });
        assert_eq!(sim.sparse(), 0, "{slot_bytes} bytes, room {room:?}: {:?}", sim.rungs);
    }
}

#[test]
fn what_is_written_here_and_there_is_caught_slot_by_slot() {
    for (slot_bytes, lane_blocks) in [16, 64, 256].into_iter().flat_map(|bytes| [(bytes, 1), (bytes, 200)]) {
        let mut sim = Sim::new(slot_bytes, lane_blocks);
        sim.run(100, |_, _| 1);
        assert_eq!(sim.sparse(), lane_blocks, "{slot_bytes} bytes");
        sim.moves = 0;
        sim.run(EPOCHS, |epoch, i| 1 + (epoch as u16 + i as u16) % 3);
        assert_eq!((sim.sparse(), sim.moves), (lane_blocks, 0), "{slot_bytes} bytes");
    }
}

#[test]
fn what_is_idle_becomes_cold_and_stays_so() {
    for slot_bytes in [16, 64, 256] {
        for written in [1, ALL] {
            let mut sim = Sim::new(slot_bytes, 100);
            sim.run(100, |_, _| written);
            let mut epochs = 0;
            while sim.cold() < 100 {
                sim.epoch(|_| 0);
                epochs += 1;
                assert!(epochs <= 150, "{slot_bytes} bytes, {written} written: {:?}", sim.rungs);
            }
            sim.run(10, |_, _| 0);
            assert_eq!(sim.cold(), 100);
        }
    }
}

#[test]
fn what_was_never_written_again_is_never_moved() {
    let mut sim = Sim::new(64, 300);
    sim.run(EPOCHS, |_, i| if i % 3 == 0 { 2 } else { 0 });
    let idle = |sim: &Sim| (0..300).filter(|i| i % 3 != 0 && sim.rungs[*i] == Some(Rung::Cold)).count();
    assert_eq!(idle(&sim), 200);
}

/// After one dense epoch in many it may be counted and be sparse for a while, and then it is cold again.
#[test]
fn a_rare_burst_moves_nothing_for_good() {
    let mut sim = Sim::new(64, 40);
    sim.run(EPOCHS, |epoch, i| if epoch % 150 == i as u32 % 150 { ALL } else { 0 });
    assert_eq!(sim.cold(), 40, "{:?}", sim.rungs);
    assert!(sim.moves <= 4 * (EPOCHS / 150) * 40, "{} moves", sim.moves);
}

#[test]
fn few_lane_blocks_are_counted_at_each_cut() {
    let (mut sim, mut coins) = (Sim::new(64, 2000), Rng::new(3));
    sim.run(EPOCHS / 4, |_, _| if coins.below(4) == 0 { 3 } else { 0 });
    assert!((1..=PROBES as usize).contains(&sim.probes_max), "{}", sim.probes_max);
}

/// What is copied is compared once in a while, so that it is found out when it is no longer written densely.
#[test]
fn what_is_copied_is_looked_at_again() {
    let mut sim = Sim::new(16, 40);
    // By pages: else what is written densely had better be cold.
    sim.policy.costs = Costs::new(layout(16), TrackerKind::Async, false);
    sim.room = Room::Count;
    sim.run(100, |_, _| ALL);
    let copied = sim.count(|rung| matches!(rung, Rung::Hot(_)));
    assert_eq!(copied, 40, "{:?}", sim.rungs);
    sim.run(150, |_, _| 1);
    assert_eq!(sim.sparse(), 40, "{:?}", sim.rungs);
}

/// In the long run, it costs little more than the best of the fixed choices, by its own reckoning of costs.
#[test]
fn it_is_not_much_worse_than_any_fixed_choice() {
    type Writes = fn(u32, usize, &mut Rng) -> u16;
    let loads: [(&str, Writes); 7] = [
        ("idle", |_, _, _| 0),
        ("one slot in every lane-block", |_, _, _| 1),
        ("all slots", |_, _, _| ALL),
        ("a tenth of the lane-blocks, 3 slots", |_, _, rng| if rng.below(10) == 0 { 3 } else { 0 }),
        ("a tenth of the lane-blocks, all slots", |_, _, rng| if rng.below(10) == 0 { ALL } else { 0 }),
        ("a tenth always densely", |_, i, _| if i % 10 == 0 { ALL } else { 0 }),
        ("every other epoch 50 slots", |epoch, _, _| if epoch % 2 == 0 { 50 } else { 0 }),
    ];
    for (load, writes) in loads {
        let (mut sim, mut rng) = (Sim::new(64, 200), Rng::new(9));
        let costs = sim.policy.costs;
        let cost = |rung: Rung, written: f32| match rung {
            Rung::Cold => costs.cold(written),
            Rung::Sparse => costs.sparse(written),
            Rung::Hot(Eager::Copy) => costs.copied(written),
            Rung::Hot(_) => costs.compared(written),
        };
        let fixed = [Rung::Cold, Rung::Sparse, Rung::Hot(Eager::Compare)];
        let (mut spent, mut others) = (0.0, [0.0; 3]);
        for epoch in 0..EPOCHS {
            let written: Vec<u16> = (0..200).map(|i| writes(epoch, i, &mut rng)).collect();
            for (rung, written) in sim.rungs.iter().zip(&written) {
                spent += cost(rung.unwrap_or(Rung::Cold), f32::from(*written));
                others.iter_mut().zip(fixed).for_each(|(sum, rung)| *sum += cost(rung, f32::from(*written)));
            }
            sim.epoch(|i| written[i]);
        }
        spent += sim.moving;
        let best = others.into_iter().fold(f32::MAX, f32::min);
        println!("{load}: {:.2} of the best fixed rung, {} moves", spent / best, sim.moves);
        assert!(spent < 1.5 * best, "{load}: {spent} ns, the fixed rungs {others:?}, {:?}", sim.rungs);
    }
}

#[test]
fn the_same_writes_get_the_same_rungs() {
    let run = || {
        let (mut sim, mut rng) = (Sim::new(64, 200), Rng::new(5));
        let mut rungs = Vec::new();
        for _ in 0..200 {
            sim.epoch(|i| if rng.below(1 + i as u64 % 7) == 0 { rng.below(u64::from(ALL) + 1) as u16 } else { 0 });
            rungs.push(sim.rungs.clone());
        }
        rungs
    };
    assert_eq!(run(), run());
}

#[test]
fn a_full_zone_takes_little_memory() {
    let (mut policy, lane_blocks) = (policy(16), 256 * ZONE_BLOCKS as usize);
    let seen = Seen { state: State::Cold, written: Written::Some, room: Room::Compare };
    for at in (0..lane_blocks as u32).map(LaneBlock) {
        policy.decide(at, seen);
    }
    // A lane-block of slots of 16 bytes has 8 KiB; a `Vec` that grows has twice what it needs.
    assert!(policy.memory_bytes() <= 2 * 40 * lane_blocks, "{}", policy.memory_bytes());
    // Of a zone with one block there is nothing to be remembered of others.
    let mut small = self::policy(64);
    (0..64).for_each(|slot| _ = small.decide(LaneBlock::new(SlotIndex(slot), 0), seen));
    assert!(small.memory_bytes() <= 40 * 64, "{}", small.memory_bytes());
}
