//! Bugs put in on purpose, one at a time: each must be caught by the suite that is there for it. With none of them, the same suites find nothing.
//!
//! Which bug is on holds for a whole process, so all of this is one test. `STREWN_CANARY=name` tries that one alone.

use rand::{SeedableRng, rngs::SmallRng};
use std::sync::atomic::{AtomicBool, Ordering};
use strewn::TrackerKind;
use strewn::testing::{Canary, set_canary};
use strewn_tests::bank::Bank;
use strewn_tests::explore::faults::explore_faults;
use strewn_tests::explore::heaps::{HeapPlan, explore_heaps};
use strewn_tests::explore::history::Plan;
use strewn_tests::explore::{Caught, Effort, Tally, explore};
use strewn_tests::process::{alone, fast_dir, say, skip};
use strewn_tests::trackers::{any_tracker, options, trackers};

const PLAN: Plan = Plan { epochs: 14, log_bytes: 3000, reopen_one_in: 0, fault: None, late_folds: false };
const EFFORT: Effort = Effort { random_states: 6, exhaustive: true };

/// The suites, as `crash_states` and `crash_kill` run them, with fewer seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    /// Histories cut at every operation.
    Cuts,
    /// The same with folds among appends.
    LateFolds,
    /// A fault at every operation.
    Faults,
    /// Whole heaps.
    Heaps,
    /// Threads that work on a bank, checkpoints, and a heap that is left and opened again.
    Threads,
}

/// How often threads work on a bank.
const ROUNDS: u64 = 80;

/// What is expected to catch what.
const EXPECTED: [(Canary, Suite); 15] = [
    (Canary::FlipWithoutSync, Suite::Cuts),
    (Canary::FlipBeforeData, Suite::Cuts),
    (Canary::FoldBeforeCommit, Suite::Cuts),
    (Canary::ChecksumWithoutLength, Suite::Cuts),
    (Canary::AcknowledgedBeforeSync, Suite::Cuts),
    (Canary::FileNotSynced, Suite::Cuts),
    (Canary::CreationNotSynced, Suite::Cuts),
    (Canary::ComparedWithOldImage, Suite::LateFolds),
    (Canary::FailedSyncForgotten, Suite::Faults),
    (Canary::EndNotRewritten, Suite::Faults),
    (Canary::AllocationBitLost, Suite::Heaps),
    (Canary::OwedForgotten, Suite::Heaps),
    (Canary::WalkEndDropped, Suite::Heaps),
    (Canary::MarkForgotten, Suite::Heaps),
    (Canary::CopiedAfterReopening, Suite::Threads),
];

impl Suite {
    fn run(self) -> Result<Tally, Box<Caught>> {
        match self {
            Suite::Cuts => explore(PLAN, EFFORT, 0..2),
            Suite::LateFolds => explore(Plan { late_folds: true, ..PLAN }, EFFORT, 0..2),
            Suite::Faults => explore_faults(Plan { reopen_one_in: 6, ..PLAN }, 0..1).map(|tally| tally.after),
            Suite::Heaps => {
                let options = options(any_tracker(), 4096);
                let plan = HeapPlan { options, checkpoints: 25, crowd: (400, 1000), full_one_in: 4, states: 60 };
                explore_heaps(&plan, 0..2)
            }
            Suite::Threads => threads(),
        }
    }
}

/// Three threads on a bank, and checkpoints; what was durable last is opened again.
fn threads() -> Result<Tally, Box<Caught>> {
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let dir = fast_dir();
        let (path, options) = (dir.path().join("bank.heap"), options(any_tracker(), 64 << 10));
        let heap = options.create(&path).unwrap();
        let bank = Bank::open(&heap).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (bank, stop) = (&bank, &stop);
                scope.spawn(move || {
                    let mut rng = SmallRng::seed_from_u64(round << 8 | worker);
                    while !stop.load(Ordering::Relaxed) {
                        bank.work(&mut rng).unwrap();
                    }
                });
            }
            for _ in 0..4 {
                heap.checkpoint().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        drop(bank);
        drop(heap);
        tally.states += 1;
        let opened = options.open(&path).map_err(|e| e.to_string());
        let checked = opened.and_then(|heap| Bank::verify(&heap).map(drop).map_err(|what| what.to_string()));
        checked.map_err(|what| Box::new(Caught { what: format!("round {round}: {what}"), tally }))?;
    }
    Ok(tally)
}

#[test]
fn every_canary_is_caught() {
    let _alone = alone();
    let only = std::env::var("STREWN_CANARY").ok();
    let suites = [Suite::Cuts, Suite::LateFolds, Suite::Faults, Suite::Heaps, Suite::Threads];
    for suite in suites.into_iter().filter(|_| only.is_none()) {
        let tally = suite.run().unwrap_or_else(|caught| panic!("without a canary, {suite:?}: {}", caught.what));
        say(&format!("canaries: without one, {suite:?}: nothing in {} crash states", tally.states));
    }
    assert!(Canary::ALL.iter().all(|canary| EXPECTED.iter().any(|(expected, _)| expected == canary)));
    for (canary, suite) in EXPECTED {
        if only.as_ref().is_some_and(|only| *only != canary.to_string()) {
            continue;
        }
        if canary == Canary::WalkEndDropped && !trackers().contains(&TrackerKind::Async) {
            skip("walk-end-dropped: this kernel has no PAGEMAP_SCAN, or another tracker is asked for");
            continue;
        }
        set_canary(Some(canary));
        // Where it only asserts, a suite panics.
        let outcome = std::panic::catch_unwind(|| suite.run());
        set_canary(None);
        match outcome {
            Ok(Ok(tally)) => panic!("{canary} was not caught by {suite:?} in {} crash states", tally.states),
            Ok(Err(caught)) => {
                let states = caught.tally.states;
                say(&format!("canaries: {canary}: caught by {suite:?} after {states} crash states: {}", caught.what));
            }
            Err(_) => panic!("{canary}: {suite:?} panicked instead of saying what is wrong"),
        }
    }
}
