//! Every state that a crash may leave of a store: recovered, compared with the model, recovered again, crashed in recovery, and used further.
//!
//! A failure names the seed, the operation and the fate of what was pending; `STREWN_SEED` runs that one history again. `STREWN_CRASH=long` runs
//! twenty times as many.

use std::ops::Range;
use strewn_tests::explore::history::Plan;
use strewn_tests::explore::{Effort, Tally, explore};
use strewn_tests::process::{is_long, say};

const PLAN: Plan = Plan { epochs: 14, log_bytes: 3000, reopen_one_in: 0, fault: None, late_folds: false };

/// Explores the histories of these seeds, or of the one that is to be replayed.
fn run(what: &str, plan: Plan, effort: Effort, seeds: Range<u64>) -> Tally {
    let seeds = match std::env::var("STREWN_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).expect("STREWN_SEED is a number"),
        Err(_) => seeds.start..seeds.end * if is_long() { 20 } else { 1 },
    };
    let tally = explore(plan, effort, seeds).unwrap_or_else(|caught| {
        panic!(
            "{what}: {}\nto replay: STREWN_SEED=<that seed> cargo test -p strewn-tests --test crash_states",
            caught.what
        )
    });
    say(&format!("crash_states: {what}: {tally}"));
    tally
}

#[test]
fn histories_cut_at_every_operation() {
    let effort = Effort { random_states: 6, exhaustive: true };
    run("folds in between", PLAN, effort, 0..8);
}

#[test]
fn folds_among_appends() {
    let effort = Effort { random_states: 6, exhaustive: true };
    run("folds among appends", Plan { late_folds: true, ..PLAN }, effort, 1000..1008);
}

#[test]
fn several_processes() {
    let effort = Effort { random_states: 6, exhaustive: false };
    run("several processes", Plan { reopen_one_in: 4, ..PLAN }, effort, 2000..2008);
}
