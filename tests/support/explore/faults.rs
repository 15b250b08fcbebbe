//! A fault at each operation of a history in turn: what is reported must be true, and whatever a crash leaves afterwards must be made good.

use super::history::{Plan, record};
use super::{Caught, Tally, recover};
use crate::sim::volume::random_fate;
use crate::sim::{Coins, Volume};
use std::ops::Range;

/// The errors that storage answers with.
pub const ERRNOS: [i32; 4] = [libc::EIO, libc::ENOSPC, libc::ENOMEM, libc::EMFILE];
/// Crash states that are looked at for each fault.
const STATES: u64 = 3;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultTally {
    /// Operations that failed, each in a history of its own.
    pub faults: u64,
    /// What was looked at after them.
    pub after: Tally,
}

impl std::fmt::Display for FaultTally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} faults, one in each history; {}", self.faults, self.after)
    }
}

/// Lets every operation of the histories of these seeds fail, one at a time.
///
/// # Errors
/// The first fault that was not told as it should have been, or that cost something.
pub fn explore_faults(plan: Plan, seeds: Range<u64>) -> Result<FaultTally, Box<Caught>> {
    let mut tally = FaultTally::default();
    for seed in seeds {
        let named = |op, errno, what, tally: FaultTally| {
            let what =
                format!("seed {seed}, operation {op} fails with {}: {what}", std::io::Error::from_raw_os_error(errno));
            Box::new(Caught { what, tally: tally.after })
        };
        let ops = record(plan, seed).map_err(|what| named(0, 0, what, tally))?.fallible;
        for (op, errno) in (0..ops).flat_map(|op| ERRNOS.map(|errno| (op, errno))) {
            one_fault(Plan { fault: Some((op, errno)), ..plan }, seed, &mut tally)
                .map_err(|what| named(op, errno, what, tally))?;
        }
    }
    Ok(tally)
}

fn one_fault(plan: Plan, seed: u64, tally: &mut FaultTally) -> Result<(), String> {
    let history = record(plan, seed)?;
    let first = history.fault_hit_at.ok_or("it was not reached")?;
    tally.faults += 1;
    tally.after.histories += 1;
    let (op, errno) = plan.fault.expect("given by the caller");
    let coins = &mut Coins::new(seed ^ op << 16 ^ errno as u64);
    let ops = history.ops.len();
    for _ in 0..STATES {
        let cut = first + coins.below((ops - first) as u64 + 1) as usize;
        let mut volume = Volume::default();
        history.ops[..cut].iter().for_each(|op| volume.apply(op));
        let after = if coins.one_in(3) { volume } else { volume.after_power_cut(&mut random_fate(coins)) };
        tally.after.cuts += 1;
        recover::check(after, &history, cut, coins, &mut tally.after)
            .map_err(|what| format!("then cut at operation {cut} of {ops}: {what}"))?;
    }
    Ok(())
}
