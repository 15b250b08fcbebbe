//! Random sequences of operations, by one thread.

use crate::world::World;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::alloc::Layout;
use strewn::TrackerKind;
use strewn_tests::memory::mix;
use strewn_tests::process::{SeedOnFailure, alone, fast_dir, seed};
use strewn_tests::trackers::{options, trackers};

const CASES: u32 = 24;
const LIVE_MAX: usize = 400;

#[derive(Clone, Debug)]
enum Op {
    /// Several objects of one layout, as programs do; contents from the seed, or as they come.
    Alloc {
        size: usize,
        align: usize,
        count: usize,
        fill: Option<u64>,
    },
    Write {
        which: Index,
        from: Index,
        len: Index,
        seed: u64,
    },
    Free {
        which: Index,
        count: usize,
    },
    Checkpoint,
    CheckpointAsync {
        wait: bool,
    },
    Crash,
    Close,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..=256usize, 6 => 0..=2100usize, 2 => 2049..=20_000usize, 1 => 0..=200 * 1024usize]
}

fn align() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..=4u32, 2 => 5..=12u32].prop_map(|shift| 1 << shift)
}

fn alloc() -> impl Strategy<Value = Op> {
    let count = prop_oneof![6 => 1..=2usize, 1 => 3..=90usize];
    (size(), align(), count, any::<Option<u64>>()).prop_map(|(size, align, count, fill)| {
        // Many large objects at once would only be slow.
        Op::Alloc { size, align, count: if size > 4096 { 1 } else { count }, fill }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let any_index = any::<Index>;
    prop_oneof![
        10 => alloc(),
        10 => (any_index(), any_index(), any_index(), any::<u64>())
            .prop_map(|(which, from, len, seed)| Op::Write { which, from, len, seed }),
        6 => (any_index(), prop_oneof![4 => 1..=2usize, 1 => 3..=90usize])
            .prop_map(|(which, count)| Op::Free { which, count }),
        3 => Just(Op::Checkpoint),
        2 => any::<bool>().prop_map(|wait| Op::CheckpointAsync { wait }),
        1 => Just(Op::Crash),
        1 => Just(Op::Close),
    ]
}

fn apply(world: &mut World, op: &Op) {
    let live = world.addresses();
    match *op {
        Op::Alloc { size, align, count, fill } => {
            let layout = Layout::from_size_align(size, align).unwrap();
            for i in 0..count.min(LIVE_MAX.saturating_sub(live.len())) {
                world.alloc(layout, fill.map(|seed| mix(seed, i as u64)));
            }
        }
        Op::Write { which, from, len, seed } if !live.is_empty() => {
            let addr = live[which.index(live.len())];
            let from = from.index(world.len_of(addr) + 1);
            world.write(addr, from, len.index(world.len_of(addr) - from + 1), seed);
        }
        Op::Free { which, count } if !live.is_empty() => {
            let first = which.index(live.len());
            live[first..].iter().take(count).for_each(|addr| world.free(*addr));
        }
        Op::Write { .. } | Op::Free { .. } => {}
        Op::Checkpoint => world.checkpoint(),
        Op::CheckpointAsync { wait } => world.checkpoint_async(wait),
        Op::Crash => world.crash(),
        Op::Close => world.close(),
    }
}

fn run(tracker: TrackerKind, log_bytes: u64, ops: &[Op]) {
    let dir = fast_dir();
    let mut world = World::new(options(tracker, log_bytes), dir.path().join("model.heap"));
    for op in ops {
        apply(&mut world, op);
    }
    world.check();
    world.checkpoint();
    world.crash();
}

fn run_random(tracker: TrackerKind) {
    let seed = seed();
    let _tell = SeedOnFailure(seed);
    let bytes: Vec<u8> = (0..4).flat_map(|i| mix(seed, i).to_le_bytes()).collect();
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let log_bytes = prop_oneof![Just(4096), Just(9000), Just(64 << 10)];
    let strategy = (log_bytes, prop::collection::vec(op(), 1..150));
    let outcome = runner.run(&strategy, |(log_bytes, ops)| {
        run(tracker, log_bytes, &ops);
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{tracker}: {e}"));
}

#[test]
fn random_operations_agree_with_the_model() {
    let _alone = alone();
    trackers().into_iter().for_each(run_random);
}

/// A zone whose slots are all free at the checkpoint has no frame that a record tells of.
#[test]
fn a_heap_whose_every_object_was_freed_opens_again() {
    let _alone = alone();
    for tracker in trackers() {
        let layout = Layout::from_size_align(100, 8).unwrap();
        let dir = fast_dir();
        let mut world = World::new(options(tracker, 4096), dir.path().join("model.heap"));
        let kept = world.alloc(Layout::from_size_align(500, 8).unwrap(), Some(1));
        let small = world.alloc(layout, Some(2));
        let run = world.alloc(Layout::from_size_align(5000, 8).unwrap(), Some(3));
        world.free(small);
        world.free(run);
        world.checkpoint();
        world.crash();
        world.alloc(layout, Some(4));
        world.close();
        assert!(world.addresses().contains(&kept));
    }
}
