//! A process is killed at every call of a small workload: right before the call, and right after it.

use crate::log::Event;
use crate::runs::{again, all, can_trace, long, look, work};
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use strewn::TrackerKind;
use strewn_tests::inject::Action;
use strewn_tests::process::say;
use strewn_tests::trackers::any_tracker;

const STEPS: u64 = 40;
const STEPS_LONG: u64 = 200;

#[derive(Default)]
struct Tally {
    kills: AtomicU64,
    not_reached: AtomicU64,
    without_a_heap: AtomicU64,
}

fn one(
    position: u64,
    action: Action,
    steps: u64,
    tracker: TrackerKind,
    heap: &Path,
    tally: &Tally,
) -> Result<(), String> {
    let context = |why: String| format!("{action:?} at position {position}: {why}");
    let run = work(heap, tracker, steps, |call| if call.position == position { action } else { Action::Pass });
    let run = run.map_err(context)?;
    let what = run.hit.unwrap_or_default();
    let context =
        |why: String| format!("{action:?} at position {position}, {what}: {why}\nit said:\n{}", run.ended.stdout);
    let expected = if what.is_empty() { Ok(0) } else { Err(Signal::SIGKILL) };
    if run.ended.status != expected {
        return Err(context(format!("ended with {:?}: {}", run.ended.status, run.ended.stderr)));
    }
    let events = look(heap, tracker, &run.ended).map_err(context)?;
    // Relaxed: statistics, read after all threads were joined.
    let count = |counter: &AtomicU64, by: bool| counter.fetch_add(u64::from(by), Ordering::Relaxed);
    count(&tally.kills, !what.is_empty());
    count(&tally.not_reached, what.is_empty());
    count(&tally.without_a_heap, events.contains(&Event::Other("found nothing".to_owned())));
    Ok(())
}

#[test]
fn a_kill_at_any_call_loses_nothing_acknowledged() {
    if !can_trace("kills at each call") {
        return;
    }
    let (tracker, steps) = (any_tracker(), if long() { STEPS_LONG } else { STEPS });
    let heaps = strewn_tests::process::fast_dir();
    let calm = work(&heaps.path().join("calm.heap"), tracker, steps, |_| Action::Pass).unwrap();
    assert_eq!(calm.ended.status, Ok(0), "{}", calm.ended.stderr);
    let both = |position| [(position, Action::KillBefore), (position, Action::KillAfter)];
    // After a call is before the next one, but for what other threads do meanwhile.
    let jobs: Vec<(u64, Action)> =
        (0..calm.ended.calls).flat_map(both).skip(usize::from(again())).step_by(1 + usize::from(again())).collect();
    let tally = Tally::default();
    all(&jobs, "kills at each call", 0, |(position, action), heap| {
        one(*position, *action, steps, tracker, heap, &tally)
    });
    let Tally { kills, not_reached, without_a_heap } = tally;
    let [kills, not_reached, without_a_heap] = [kills, not_reached, without_a_heap].map(AtomicU64::into_inner);
    say(&format!(
        "faults: {kills} kills, before and after each of {} calls of a workload of {steps} steps; {without_a_heap} before there was a heap; \
         {not_reached} positions were not reached",
        calm.ended.calls
    ));
    assert!(kills >= jobs.len() as u64 * 9 / 10, "too few positions were reached");
}
