//! Crash states: histories of a store on a simulated disk, every state that a crash may leave of them, and what recovery must find there.
//!
//! [`history`] records what a process does and what it may claim at each operation; [`recover`] looks at one state; this module goes through them.

pub mod faults;
pub mod heaps;
pub mod history;
mod late;
pub mod recover;

use crate::sim::volume::random_fate;
use crate::sim::{Arrival, Coins, Volume};
use history::{History, Plan};
use std::ops::{AddAssign, Range};

/// Up to this many pending pieces, every subset of them is tried.
const EXHAUSTIVE_PIECES: usize = 6;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Histories.
    pub histories: u64,
    /// Operations at which they were cut short.
    pub cuts: u64,
    /// Crash states that a recovery was tried on; those that recoveries were cut short in, too.
    pub states: u64,
    /// Of these, states at whose cut every subset of what was pending was tried.
    pub exhaustive: u64,
    /// Of these, states after a power cut during recovery or the fold that it starts.
    pub during_recovery: u64,
    /// Of these, states after going on from a recovered one.
    pub after_going_on: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.cuts += other.cuts;
        self.states += other.states;
        self.exhaustive += other.exhaustive;
        self.during_recovery += other.during_recovery;
        self.after_going_on += other.after_going_on;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { histories, cuts, states, exhaustive, during_recovery, after_going_on } = self;
        write!(
            f,
            "{states} crash states of {histories} histories cut at {cuts} operations ({exhaustive} as one of all subsets, {during_recovery} during \
             recovery, {after_going_on} after going on)"
        )
    }
}

/// What went wrong, after how much was tried.
#[derive(Debug)]
pub struct Caught {
    /// The seed of the history, the operation, and what was found.
    pub what: String,
    /// What was tried by then.
    pub tally: Tally,
}

/// How thoroughly each cut is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random states at a cut where not every subset is tried.
    pub random_states: u64,
    /// Whether all subsets are tried where they are few.
    pub exhaustive: bool,
}

/// Every cut of the histories of these seeds.
///
/// # Errors
/// The first state that recovery does not make good.
pub fn explore(plan: Plan, effort: Effort, seeds: Range<u64>) -> Result<Tally, Box<Caught>> {
    let mut tally = Tally::default();
    for seed in seeds {
        let history = history::record(plan, seed).map_err(|what| caught(seed, "recording", what, tally))?;
        explore_history(&history, seed, effort, &mut tally)?;
    }
    Ok(tally)
}

fn caught(seed: u64, at: &str, what: String, tally: Tally) -> Box<Caught> {
    Box::new(Caught { what: format!("seed {seed}, {at}: {what}"), tally })
}

/// Every cut of one history.
///
/// # Errors
/// The first state that recovery does not make good.
pub fn explore_history(history: &History, seed: u64, effort: Effort, tally: &mut Tally) -> Result<(), Box<Caught>> {
    tally.histories += 1;
    let mut volume = Volume::default();
    let coins = &mut Coins::new(seed);
    let ops = history.ops.len();
    for cut in 0..=ops {
        tally.cuts += 1;
        each_state(&volume, history, cut, effort, coins, &mut |state, how, coins, exhaustive| {
            tally.exhaustive += u64::from(exhaustive);
            recover::check(state, history, cut, coins, tally)
                .map_err(|what| caught(seed, &format!("cut at operation {cut} of {ops}, {how}"), what, *tally))
        })?;
        if let Some(op) = history.ops.get(cut) {
            volume.apply(op);
        }
    }
    Ok(())
}

/// Called with a crash state, what made it, random choices, and whether it is one of all subsets.
type Visit<'a> = &'a mut dyn FnMut(Volume, &str, &mut Coins, bool) -> Result<(), Box<Caught>>;

/// The states that a crash may leave after the first `cut` operations.
fn each_state(
    volume: &Volume,
    history: &History,
    cut: usize,
    effort: Effort,
    coins: &mut Coins,
    visit: Visit<'_>,
) -> Result<(), Box<Caught>> {
    visit(volume.clone(), "process killed", coins, false)?;
    if let Some(op) = history.ops.get(cut) {
        let mut part = volume.clone();
        part.apply_part(op, coins.below(1000) as f64 / 1000.0);
        visit(part, "process killed in a write", coins, false)?;
    }
    let pieces = volume.pending();
    if effort.exhaustive && pieces <= EXHAUSTIVE_PIECES {
        for subset in 0..1u64 << pieces {
            let mut rest = subset;
            let mut fate = || {
                let arrives = rest & 1 == 1;
                rest >>= 1;
                if arrives { Arrival::Whole } else { Arrival::Lost }
            };
            let how = format!("power cut, subset {subset:#b} of {pieces} pieces");
            visit(volume.after_power_cut(&mut fate), &how, coins, true)?;
        }
    }
    let torn = if pieces == 0 { 0 } else { effort.random_states };
    for _ in 0..torn.max(u64::from(!effort.exhaustive)) {
        let seed = coins.next();
        let after = volume.after_power_cut(&mut random_fate(&mut Coins::new(seed)));
        visit(after, &format!("power cut, fate {seed:#x}"), coins, false)?;
    }
    Ok(())
}
