//! Bad input and a hostile environment: an error with a kind and facts, never a panic or worse, and files left as they were.
//!
//! What this machine does not allow (root) is said on standard error as `SKIP: why`.

#[path = "hostile/damaged.rs"]
mod damaged;
#[path = "hostile/full_disk.rs"]
mod full_disk;
#[path = "hostile/misuse.rs"]
mod misuse;
#[path = "hostile/refused.rs"]
mod refused;
#[path = "hostile/unprivileged.rs"]
mod unprivileged;

use std::path::Path;
use strewn::{Error, ErrorKind, Heap, TrackerKind};
use strewn_tests::files::Snapshot;
use strewn_tests::specimen;
use strewn_tests::trackers::options;

const CHILD: &str = env!("CARGO_BIN_EXE_strewn-test-child");

/// Makes a specimen of `steps` steps, with a checkpoint after each.
fn make_specimen(path: &Path, tracker: TrackerKind, log_bytes: u64, steps: u64, close: bool) {
    let heap = options(tracker, log_bytes).create(path).unwrap();
    for _ in 0..steps {
        specimen::grow(&heap).unwrap();
        heap.checkpoint().unwrap();
    }
    if close {
        heap.close().unwrap();
    }
}

/// Opens `path`, which must be refused as `kind` with all of `facts` in the message, and must change nothing.
fn refused(path: &Path, tracker: TrackerKind, kind: ErrorKind, facts: &[&str]) -> Error {
    let parent = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap();
    let before = Snapshot::take(parent);
    let Err(error) = Heap::options().tracker(tracker).open(path) else { panic!("{} opened", path.display()) };
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    let name = path.display().to_string();
    for fact in facts.iter().chain([&name.as_str()]) {
        assert!(text.contains(fact), "the message does not name {fact:?}: {text}");
    }
    let change = before.any_change(&Snapshot::take(parent));
    assert!(change.is_none(), "a refused open changed a file: {change:?} ({text})");
    error
}
