//! Children, several at once: the workload under interference, then a look at what it left.

use crate::calls::{HARMLESS, describe};
use crate::log::{Event, check_promises, parse};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strewn::TrackerKind;
use strewn_tests::inject::{self, Action, Call, Ended};
use strewn_tests::process::{fast_dir, skip};

const CHILD: &str = env!("CARGO_BIN_EXE_strewn-test-child");
/// What takes longer hangs. The machine may be doing something else.
const LIMIT: Duration = Duration::from_secs(60);
/// How many failures are told.
const TOLD: usize = 5;

/// One run of the workload.
pub struct Run {
    /// How it ended.
    pub ended: Ended,
    /// The call that was interfered with.
    pub hit: Option<String>,
}

/// Whether `STREWN_CRASH=long`.
pub fn long() -> bool {
    std::env::var("STREWN_CRASH").is_ok_and(|size| size == "long")
}

/// Whether the suite runs once more, with what is not the default: then one try for each position is enough.
pub fn again() -> bool {
    ["STREWN_TRACKER", "STREWN_MAPPING", "STREWN_WRITES"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Whether children can be traced here; says so aloud if not.
///
/// # Panics
/// If STREWN_REQUIRE_KERNEL=1: then they must be.
pub fn can_trace(what: &str) -> bool {
    let Err(why) = inject::possible(HARMLESS) else { return true };
    let required = std::env::var_os("STREWN_REQUIRE_KERNEL").is_some_and(|v| v == "1");
    assert!(!required, "required: {what}: {why}");
    skip(&format!("{what}: {why}"));
    false
}

fn child(verb: &str, heap: &Path, tracker: TrackerKind) -> Command {
    let mut command = Command::new(CHILD);
    command.arg(verb).arg(heap).arg(tracker.to_string());
    // What a failing child says of itself takes longer than its work.
    command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    command
}

/// Runs the workload of `steps` steps on `heap`; `act` says what becomes of each call.
///
/// # Errors
/// If the child cannot be traced.
pub fn work(
    heap: &Path,
    tracker: TrackerKind,
    steps: u64,
    mut act: impl FnMut(&Call) -> Action,
) -> Result<Run, String> {
    let mut hit = None;
    let mut on_call = |call: &Call| {
        let action = act(call);
        if action != Action::Pass {
            hit = Some(describe(call));
        }
        action
    };
    let mut command = child("work", heap, tracker);
    let ended =
        inject::run(command.arg(steps.to_string()), HARMLESS, LIMIT, &mut on_call).map_err(|e| e.to_string())?;
    if ended.hung { Err(format!("hangs; it said:\n{}", ended.stdout)) } else { Ok(Run { ended, hit }) }
}

/// Looks at what a workload left, with a process that nobody interferes with, and follows all promises from the first to the last.
/// Returns what both said.
///
/// # Errors
/// What is wrong.
pub fn look(heap: &Path, tracker: TrackerKind, ended: &Ended) -> Result<Vec<Event>, String> {
    let mut events = parse(&ended.stdout)?;
    let output = child("after", heap, tracker).output().map_err(|e| e.to_string())?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("the heap that it left: {}\n{out}{err}", output.status));
    }
    events.extend(parse(&out)?);
    check_promises(&events)?;
    Ok(events)
}

/// Does all `jobs`, on as many threads as there are processors. Each gets a path for a heap of its own.
///
/// # Panics
/// If some fail: with the first few.
pub fn all<J: Sync>(jobs: &[J], what: &str, seed: u64, job: impl Fn(&J, &Path) -> Result<(), String> + Sync) {
    let dir = fast_dir();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // Relaxed: only the number itself is shared.
                while let Some(one) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let heap = heap_in(dir.path());
                    if let Err(why) = job(one, &heap) {
                        failures.lock().unwrap().push(why);
                    }
                    // There may be none; the temporary directory goes in the end.
                    let _ = std::fs::remove_dir_all(&heap);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let told = failures.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n\n");
    assert!(failures.is_empty(), "{what}, seed {seed}: {} of {} failed:\n\n{told}", failures.len(), jobs.len());
}

fn heap_in(dir: &Path) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: only the number itself is shared.
    dir.join(format!("{}.heap", NUMBER.fetch_add(1, Ordering::Relaxed)))
}
