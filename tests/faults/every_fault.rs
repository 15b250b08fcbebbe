//! Every call of a workload fails in turn, in every way that it can.

use crate::calls::{Class, Fault, faults, name};
use crate::log::Event;
use crate::runs::{Run, again, all, can_trace, long, look, work};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Mutex;
use strewn::TrackerKind;
use strewn_tests::inject::{Action, Call};
use strewn_tests::memory::mix;
use strewn_tests::process::{fast_dir, say, seed};
use strewn_tests::trackers::any_tracker;
use strewn_tests::workload::TO_BE_DROPPED;

const STEPS: u64 = 200;
/// Where heaps lie. What is mapped elsewhere is the language's and the C library's.
const HEAPS: std::ops::Range<u64> = 0x1100_0000_0000..0x5000_0000_0000;

/// Which fault is tried at a position.
#[derive(Clone, Copy)]
enum Choice {
    /// One of a class, or of any if the call has none of it.
    OfClass(Class),
    /// The one with this number, modulo how many there are.
    Number(usize),
}

struct Job {
    position: u64,
    choice: Choice,
}

/// What was done to a call.
struct Hit {
    name: &'static str,
    fault: Fault,
    /// The file, for calls on descriptors.
    file: String,
    /// Memory that is none of a heap's.
    foreign_memory: bool,
    /// A fold may fail, and nobody asks any more.
    nobody_asks: bool,
}

#[derive(Default)]
struct Tally {
    faults: BTreeMap<(&'static str, Class), u64>,
    not_reached: u64,
    cannot_fail: u64,
    told: u64,
    poisoned: u64,
    full_and_went_on: u64,
    /// By what the process said in the end.
    died_outside: BTreeMap<String, u64>,
}

fn choose(call: &Call, choice: Choice, seed: u64) -> Option<Fault> {
    let possible = faults(call);
    let draw = mix(seed, call.position) as usize;
    let of_class = |class| -> Vec<Fault> { possible.iter().copied().filter(|fault| fault.class == class).collect() };
    let among = match choice {
        Choice::Number(number) if !possible.is_empty() => return Some(possible[number % possible.len()]),
        Choice::OfClass(class) if !of_class(class).is_empty() => of_class(class),
        _ => possible,
    };
    (!among.is_empty()).then(|| among[draw % among.len()])
}

fn one(job: &Job, tracker: TrackerKind, seed: u64, heap: &Path, tally: &Mutex<Tally>) -> Result<(), String> {
    let Job { position, choice } = *job;
    let (mut hit, mut cannot_fail) = (None, false);
    let run = work(heap, tracker, STEPS, |call| {
        if call.position != position {
            return Action::Pass;
        }
        let Some(fault) = choose(call, choice, seed) else {
            cannot_fail = true;
            return Action::Pass;
        };
        let name = name(call.number);
        let is_memory = ["mmap", "mremap", "munmap", "mprotect", "madvise"].contains(&name);
        let foreign_memory = is_memory && !HEAPS.contains(&call.arguments[0]);
        let file = call.file_of(call.arguments[0]);
        let nobody_asks = call.phase == TO_BE_DROPPED && !file.contains("/log-");
        hit = Some(Hit { name, fault, file, foreign_memory, nobody_asks });
        fault.action
    });
    let run = run.map_err(|why| format!("position {position}: {why}"))?;
    let Some(hit) = hit else {
        let mut tally = tally.lock().unwrap();
        *(if cannot_fail { &mut tally.cannot_fail } else { &mut tally.not_reached }) += 1;
        return Ok(());
    };
    judge(&run, &hit, tracker, heap, tally).map_err(|why| {
        let (what, out, err) = (run.hit.as_deref().unwrap_or(""), &run.ended.stdout, &run.ended.stderr);
        let tail: Vec<&str> = out.lines().rev().take(12).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("position {position}: {} at {what}: {why}\nit said, last:\n{}\n{err}", hit.fault, tail.join("\n"))
    })
}

fn judge(run: &Run, hit: &Hit, tracker: TrackerKind, heap: &Path, tally: &Mutex<Tally>) -> Result<(), String> {
    let died = run.ended.status != Ok(0);
    // Rust ends a process that has no memory for an allocation, or for the stack on which a new thread takes signals. For the heap that is a crash like any other.
    let of_rust = ["memory allocation of", "alternative stack"].iter().any(|what| run.ended.stderr.contains(what));
    if died && !(hit.foreign_memory && of_rust && run.ended.status == Err(Signal::SIGABRT)) {
        return Err(format!("ended with {:?}", run.ended.status));
    }
    if !died && run.ended.stderr.contains("panicked") {
        return Err("a thread panicked".to_owned());
    }
    let events = look(heap, tracker, &run.ended)?;
    let told: Vec<(&str, &str)> = events.iter().filter_map(refusal).collect();
    let poisoned = events.iter().any(|event| matches!(event, Event::Poisoned(_)));
    if !died {
        check_told(&told, hit, heap)?;
        check_sync(&events, &told, poisoned, hit)?;
        check_room(&told, hit)?;
        let close_refused = events.iter().any(|event| matches!(event, Event::Refused(what, ..) if what == "close"));
        if !close_refused && !events.contains(&Event::Opened(STEPS)) {
            return Err(format!("did not come to step {STEPS}"));
        }
    }
    let full = told.iter().any(|(kind, _)| *kind == "StorageFull");
    let failed = events.iter().any(|event| matches!(event, Event::Failed(..)));
    let mut tally = tally.lock().unwrap();
    *tally.faults.entry((hit.name, hit.fault.class)).or_default() += 1;
    tally.told += u64::from(!told.is_empty());
    tally.poisoned += u64::from(poisoned);
    tally.full_and_went_on += u64::from(full && failed && !poisoned);
    if died {
        *tally.died_outside.entry(last_words(&run.ended.stderr)).or_default() += 1;
    }
    Ok(())
}

/// What a process said before it ended, without numbers: its message, but not where it is from.
fn last_words(stderr: &str) -> String {
    let lines = stderr
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains("panicked at") && !line.starts_with("note:"));
    let text = lines.collect::<Vec<_>>().join("; ");
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

/// Kind and text of what was refused.
fn refusal(event: &Event) -> Option<(&str, &str)> {
    match event {
        Event::Failed(_, kind, text) | Event::Refused(_, kind, text) => Some((kind, text)),
        _ => None,
    }
}

/// Whoever is refused something is told what and where. What passes by itself is not refused.
fn check_told(told: &[(&str, &str)], hit: &Hit, heap: &Path) -> Result<(), String> {
    if let (Class::Transient, Some((kind, text))) = (hit.fault.class, told.first()) {
        return Err(format!("it was to be tried again, not refused: {kind} {text}"));
    }
    // Its directory is opened as well, to make its name durable.
    let dir = heap.parent().unwrap_or(heap).display().to_string();
    let names = ["0x", "thread", "memfd", "userfaultfd", "/proc/self/pagemap", "zone"];
    let nameless =
        |text: &str| !text.contains(&dir) && !text.contains(hit.name) && !names.iter().any(|name| text.contains(name));
    match told.iter().find(|(_, text)| nameless(text)) {
        Some((kind, text)) => Err(format!("the message names neither call nor place: {kind} {text}")),
        None => Ok(()),
    }
}

/// After a failed sync nothing is accepted until the heap is opened again, and somebody is told; and only then.
fn check_sync(events: &[Event], told: &[(&str, &str)], poisoned: bool, hit: &Hit) -> Result<(), String> {
    let sync = ["fdatasync", "fsync"].contains(&hit.name) && hit.fault.class != Class::Transient;
    if !sync {
        return if poisoned { Err("poisoned, but no sync failed".to_owned()) } else { Ok(()) };
    }
    let Some((kind, text)) = told.first() else {
        return if hit.nobody_asks { Ok(()) } else { Err("a sync failed, and nobody was told".to_owned()) };
    };
    if !["Io", "StorageFull", "Poisoned"].contains(kind) {
        return Err(format!("a failed sync is told as {kind}"));
    }
    // The sync of a fold fails in the background, and the next checkpoint hears of it.
    if !text.contains(hit.name) {
        return Err(format!("the message does not name the call: {kind} {text}"));
    }
    let failed = events.iter().any(|event| matches!(event, Event::Failed(..)));
    if failed && !poisoned { Err("a checkpoint was accepted after a failed sync".to_owned()) } else { Ok(()) }
}

/// A write that fails is told; one without room as what it is.
fn check_room(told: &[(&str, &str)], hit: &Hit) -> Result<(), String> {
    if hit.fault.class == Class::Transient || hit.file.starts_with("/memfd:") {
        return Ok(());
    }
    let no_room = [libc::ENOSPC, libc::EDQUOT].map(Action::Fail).contains(&hit.fault.action);
    let writes = [("pwrite64", "pwrite"), ("fallocate", "fallocate")];
    let Some((_, call)) = writes.iter().find(|(name, _)| *name == hit.name) else { return Ok(()) };
    if told.is_empty() && *call == "pwrite" && hit.file.contains("/log-") {
        return Err("a write to the log failed, and nobody was told".to_owned());
    }
    match told.first() {
        Some((kind, text)) if no_room && (*kind != "StorageFull" || !text.contains(call)) => {
            Err(format!("no room, told as {kind}: {text}"))
        }
        _ => Ok(()),
    }
}

/// The calls of the workload when nothing fails: how many of each name, and the classes of faults at each position.
fn list(tracker: TrackerKind) -> Vec<(&'static str, Vec<Class>, usize)> {
    let dir = fast_dir();
    let mut calls = Vec::new();
    let calm = work(&dir.path().join("calm.heap"), tracker, STEPS, |call| {
        let faults = faults(call);
        let mut classes: Vec<Class> = faults.iter().map(|fault| fault.class).collect();
        classes.sort_unstable();
        classes.dedup();
        calls.push((name(call.number), classes, faults.len()));
        Action::Pass
    });
    let calm = calm.unwrap();
    assert_eq!(calm.ended.status, Ok(0), "{}", calm.ended.stderr);
    calls
}

/// The positions that `STREWN_POSITION` names, as one number or as `FIRST-LAST`.
fn only() -> Option<RangeInclusive<u64>> {
    let text = std::env::var("STREWN_POSITION").ok()?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let number = |text: &str| text.parse().expect("STREWN_POSITION is a number, or FIRST-LAST");
    Some(number(first)..=number(last))
}

fn jobs(calls: &[(&'static str, Vec<Class>, usize)]) -> Vec<Job> {
    let only = only();
    let mut jobs = Vec::new();
    for (position, (_, classes, count)) in (0..).zip(calls) {
        if only.as_ref().is_some_and(|only| !only.contains(&position)) {
            continue;
        }
        let choices: Vec<Choice> = if long() || only.is_some() {
            (0..*count).map(Choice::Number).collect()
        } else if again() {
            // Another class at the next position.
            let class = |classes: &[Class]| classes[position as usize % classes.len()];
            (!classes.is_empty()).then(|| Choice::OfClass(class(classes))).into_iter().collect()
        } else {
            classes.iter().map(|class| Choice::OfClass(*class)).collect()
        };
        jobs.extend(choices.into_iter().map(|choice| Job { position, choice }));
    }
    jobs
}

#[test]
fn a_fault_at_any_call_is_survived() {
    if !can_trace("faults at each call") {
        return;
    }
    let (tracker, seed) = (any_tracker(), seed());
    let calls = list(tracker);
    let jobs = jobs(&calls);
    let tally = Mutex::new(Tally::default());
    all(&jobs, "faults at each call", seed, |job, heap| one(job, tracker, seed, heap, &tally));
    let tally = tally.into_inner().unwrap();
    let total: u64 = tally.faults.values().sum();
    say(&format!(
        "faults: seed {seed}, {tracker}: {} calls of a workload of {STEPS} steps, {total} faults tried; {} told, {} poisoned a heap, {} had no room and went on, \
         {} ended the process outside of the heap; {} positions were not reached, {} had a call that cannot fail",
        calls.len(),
        tally.told,
        tally.poisoned,
        tally.full_and_went_on,
        tally.died_outside.values().sum::<u64>(),
        tally.not_reached,
        tally.cannot_fail
    ));
    if !tally.died_outside.is_empty() {
        say(&format!("  ended with: {:?}", tally.died_outside));
    }
    let by_name: Vec<String> =
        tally.faults.iter().map(|((name, class), count)| format!("{name} {class:?} {count}")).collect();
    say(&format!("  {}", by_name.join(", ")));
    if only().is_none() {
        assert!(total >= jobs.len() as u64 * 9 / 10, "too few positions were reached");
        assert!(tally.poisoned >= 3 && tally.full_and_went_on >= 3, "too few faults hit a checkpoint");
    }
}
