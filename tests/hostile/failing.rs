//! Calls that fail, one by one: strace makes the n-th sync or write of a child fail; of each of its threads, in fact: the one
//! that creates the heap, the writer, and each that folds.

use crate::CHILD;
use std::path::Path;
use std::process::Command;
use strewn_tests::process::{alone, describe, fast_dir, has_program, skip};
use strewn_tests::specimen;
use strewn_tests::trackers::any_tracker;

/// Positions to try: all calls of creation, of the first checkpoints, and of a fold.
const POSITIONS: std::ops::RangeInclusive<u32> = 1..=24;

/// What a child said while its n-th `call` failed with `error`; and at which step the heap is found afterwards.
///
/// `None` if no thread made that many calls.
fn with_fault(dir: &Path, call: &str, error: &str, n: u32) -> Option<(Vec<String>, u64)> {
    let trace = dir.join("trace");
    let path = dir.join(format!("{call}-{n}.heap"));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}:when={n}")]);
    command.arg("-o").arg(&trace).args(["--", CHILD, "faults"]).arg(&path).arg(any_tracker().to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{call} {n}: {}", describe(&output));
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let reopened = specimen::open_and_verify(&path, any_tracker());
    let reopened = reopened.unwrap_or_else(|e| panic!("{call} {n} failed, and then {e:?}: {lines:#?}"));
    std::fs::read_to_string(trace).unwrap().contains("INJECTED").then_some((lines, reopened))
}

/// Whether strace is there and may trace.
fn strace_works(what: &str) -> bool {
    if !has_program("strace") {
        skip(&format!("{what}: strace is not installed"));
        return false;
    }
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let works = traced.is_ok_and(|output| output.status.success());
    if !works {
        skip(&format!("{what}: strace may not trace here"));
    }
    works
}

/// What all faults have in common: a heap that says "durable" keeps its word.
fn check_outcome(lines: &[String], reopened: u64, what: &str) {
    let number =
        |line: &str, prefix: &str| -> Option<u64> { line.strip_prefix(prefix)?.split(' ').next()?.parse().ok() };
    let durable = lines.iter().filter_map(|line| number(line, "durable ")).max().unwrap_or(0);
    let tried = lines.iter().filter_map(|line| number(line, "failed ")).max().unwrap_or(0).max(durable);
    assert!((durable..=tried).contains(&reopened), "{what}, reopened at step {reopened}: {lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("refused again")), "{what}: half a heap was left: {lines:#?}");
    let failures = lines.iter().filter(|line| line.starts_with("failed ")).count();
    assert_eq!(lines.iter().filter(|line| *line == "readable").count(), failures, "{what}: {lines:#?}");
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_until_the_heap_is_opened_again() {
    let _alone = alone();
    if !strace_works("a failing fdatasync") {
        return;
    }
    let dir = fast_dir();
    let mut poisoned = 0;
    for n in POSITIONS {
        let Some((lines, reopened)) = with_fault(dir.path(), "fdatasync", "EIO", n) else { continue };
        let what = format!("fdatasync {n} failed");
        check_outcome(&lines, reopened, &what);
        let hit = lines.iter().position(|line| line.starts_with("failed "));
        if let Some(first) = hit {
            // The sync of a fold fails in the background, and the next checkpoint hears of it.
            let kinds = ["Io ", "Poisoned "].map(|kind| lines[first].contains(kind));
            assert!(kinds.contains(&true), "{what}: {lines:#?}");
            assert!(lines[first].contains("fdatasync"), "{what}: names no call: {lines:#?}");
            let told = ["failed ", "durable ", "close failed "];
            let next = lines[first + 1..].iter().find(|line| told.iter().any(|start| line.starts_with(start)));
            assert!(next.is_some_and(|line| line.contains("Poisoned ")), "{what}: {lines:#?}");
            poisoned += 1;
        } else {
            let told = lines.iter().any(|line| line.starts_with("refused ") || line.starts_with("close failed"));
            assert!(told, "{what}: nobody was told: {lines:#?}");
        }
    }
    assert!(poisoned >= 3, "only {poisoned} positions hit a checkpoint");
}

#[test]
fn after_a_write_without_room_the_heap_goes_on() {
    let _alone = alone();
    if !strace_works("a failing pwrite64") {
        return;
    }
    let dir = fast_dir();
    let mut recovered = 0;
    for n in POSITIONS {
        let Some((lines, reopened)) = with_fault(dir.path(), "pwrite64", "ENOSPC", n) else { continue };
        let what = format!("pwrite64 {n} had no room");
        check_outcome(&lines, reopened, &what);
        assert!(!lines.iter().any(|line| line.contains("Poisoned")), "{what}: {lines:#?}");
        if let Some(first) = lines.iter().position(|line| line.starts_with("failed ")) {
            assert!(lines[first].contains("StorageFull ") && lines[first].contains("pwrite"), "{what}: {lines:#?}");
            // A fold whose n-th write fails is tried again by a thread whose n-th write fails.
            recovered += u32::from(lines[first..].iter().any(|line| line.starts_with("durable ")));
        }
    }
    assert!(recovered >= 3, "only {recovered} times a checkpoint failed and the next did not");
}
