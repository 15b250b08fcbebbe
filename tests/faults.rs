//! Every system call of a small workload fails, or is the last one of its process: each in turn.
//!
//! Calls are counted by ptrace (`strewn_tests::inject`), over all threads of the process. The background threads make the order of calls vary a
//! little from run to run, so which call is at a position shows when it is reached, and its faults are chosen then.
//!
//! `STREWN_CRASH=long` tries every fault at every position, and a longer workload for kills. `STREWN_SEED` replays the choice of faults, `STREWN_POSITION` tries every fault at one
//! position only, or at those from `FIRST-LAST`.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "calls are counted on x86-64 only"))]

#[cfg(target_arch = "x86_64")]
#[path = "faults/calls.rs"]
mod calls;
#[cfg(target_arch = "x86_64")]
#[path = "faults/every_fault.rs"]
mod every_fault;
#[cfg(target_arch = "x86_64")]
#[path = "faults/every_kill.rs"]
mod every_kill;
#[cfg(target_arch = "x86_64")]
#[path = "faults/log.rs"]
mod log;
#[cfg(target_arch = "x86_64")]
#[path = "faults/runs.rs"]
mod runs;

#[cfg(not(target_arch = "x86_64"))]
#[test]
fn faults_at_each_call() {
    strewn_tests::process::skip("faults and kills at each system call: they are injected on x86-64 only");
}
