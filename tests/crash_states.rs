//! Every state that a crash may leave of a store: recovered, compared with the model, recovered again, crashed in recovery, and used further.
//!
//! A failure names the seed, the operation and the fate of what was pending; `STREWN_SEED` runs that one history again. `STREWN_CRASH=long` runs
//! eight times as many.

use std::ops::Range;
use strewn::{Mapping, PolicyKind, TrackerKind};
use strewn_tests::explore::faults::explore_faults;
use strewn_tests::explore::heaps::{HeapPlan, explore_heaps};
use strewn_tests::explore::history::Plan;
use strewn_tests::explore::{Caught, Effort, explore};
use strewn_tests::process::{alone, is_long, say};
use strewn_tests::trackers::{options, trackers};

const PLAN: Plan = Plan { epochs: 14, log_bytes: 3000, reopen_one_in: 0, fault: None, late_folds: false };
const EXHAUSTIVE: Effort = Effort { random_states: 6, exhaustive: true };

/// Runs a suite with these seeds, or with the one that is to be replayed, and prints what it tried.
fn run<T: std::fmt::Display>(what: &str, seeds: Range<u64>, suite: impl Fn(Range<u64>) -> Result<T, Box<Caught>>) {
    let count = (seeds.end - seeds.start) * if is_long() { 8 } else { 1 };
    let seeds = match std::env::var("STREWN_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).expect("STREWN_SEED is a number"),
        Err(_) => seeds.start..seeds.start + count,
    };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let tally = suite(seeds).unwrap_or_else(|caught| {
        let command = format!("cargo test -p strewn-tests --test crash_states {test}");
        panic!("{what}: {}\nto replay: STREWN_SEED=<that seed> {command}", caught.what)
    });
    say(&format!("crash_states: {what}: {tally}"));
}

#[test]
fn histories_cut_at_every_operation() {
    run("folds in between", 0..6, |seeds| explore(PLAN, EXHAUSTIVE, seeds));
}

#[test]
fn folds_among_appends() {
    run("folds among appends", 1000..1006, |seeds| explore(Plan { late_folds: true, ..PLAN }, EXHAUSTIVE, seeds));
}

#[test]
fn several_processes() {
    let effort = Effort { random_states: 6, exhaustive: false };
    run("several processes", 2000..2008, |seeds| explore(Plan { reopen_one_in: 4, ..PLAN }, effort, seeds));
}

#[test]
fn a_fault_at_every_operation() {
    run("faults", 3000..3003, |seeds| explore_faults(Plan { reopen_one_in: 6, ..PLAN }, seeds));
}

#[test]
fn whole_heaps() {
    let _alone = alone();
    for tracker in trackers() {
        let plan = HeapPlan {
            options: options(tracker, 4096),
            checkpoints: 25,
            crowd: (400, 1000),
            full_one_in: 4,
            states: 120,
        };
        run(&format!("heaps, {tracker}"), 4000..4003, |seeds| explore_heaps(&plan, seeds));
    }
}

/// Blocks that are huge pages; what wakes is compared with the image, which is older than the log.
#[test]
fn whole_heaps_with_a_ladder() {
    let _alone = alone();
    if !trackers().contains(&TrackerKind::Async) {
        return;
    }
    for policy in [PolicyKind::Coarse, PolicyKind::Adaptive] {
        let options = options(TrackerKind::Async, 1 << 20).mapping(Mapping::Huge).policy(policy);
        let plan = HeapPlan { options, checkpoints: 40, crowd: (20_000, 256), full_one_in: 4, states: 25 };
        run(&format!("heaps, huge pages, {policy}"), 5000..5002, |seeds| explore_heaps(&plan, seeds));
    }
}
