//! [`Model`]: runs a concurrent protocol in every order of its steps (loom), or in thousands of random ones (shuttle), and says how many those were.
//!
//! A model is the code of the engine itself, over the atomics, locks and threads of `base/sync.rs`. Each is run once as it is, which must succeed,
//! and once with each of its [`Mistake`]s, which must fail.

use super::mistakes::Mistake;
use std::cell::Cell;
use std::io::Write;
#[cfg(shuttle)]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

// Both loom and shuttle run all threads of a model on the thread that called them, so this is that model's own.
thread_local!(static MADE: Cell<Option<Mistake>> = const { Cell::new(None) });

/// The mistake that the model of this thread makes.
pub fn made() -> Option<Mistake> {
    MADE.get()
}

/// What loom and shuttle say when all threads wait.
pub const DEADLOCK: &str = "deadlock";
/// What loom says of a use that [`super::sync::Guarded`] or [`super::sync::own`] forbids.
pub const RACE: &str = "Causality violation";

/// One protocol.
pub struct Model {
    name: &'static str,
    body: Arc<dyn Fn() + Send + Sync>,
    #[cfg_attr(shuttle, allow(dead_code, reason = "shuttle is bounded by the number of its schedules"))]
    preemptions: Option<usize>,
}

impl Model {
    /// The protocol that `body` runs, in every order.
    pub fn new(name: &'static str, body: impl Fn() + Send + Sync + 'static) -> Self {
        Self { name, body: Arc::new(body), preemptions: None }
    }

    /// Only orders in which at most `bound` threads are interrupted: where there are too many orders.
    pub fn preemptions(self, bound: usize) -> Self {
        Self { preemptions: Some(bound), ..self }
    }

    /// Runs it as it is.
    pub fn holds(self) -> Self {
        let (executions, failure) = self.run(None);
        match failure {
            None => say(&format!("{TOOL} {}: holds in {executions}{}", self.name, self.bound())),
            Some(failure) => {
                say(&format!("{TOOL} {}: FAILED in {executions}: {failure}", self.name));
                panic!("{}: {failure}", self.name);
            }
        }
        self
    }

    /// Runs it with `mistake`, which it must find: as a panic whose message contains `expected`. With shuttle any panic will do: it stops all threads
    /// wherever they are, and what they drop then may panic as well.
    pub fn rejects(self, mistake: Mistake, expected: &str) -> Self {
        let (executions, failure) = self.run(Some(mistake));
        let failure = failure.unwrap_or_else(|| panic!("{}: {mistake:?} was not found in {executions}", self.name));
        let expected = if cfg!(loom) { expected } else { "" };
        assert!(failure.contains(expected), "{}: {mistake:?} was found as {failure:?}, not {expected:?}", self.name);
        say(&format!("{TOOL} {}: {mistake:?} rejected after {executions}: {expected}", self.name));
        self
    }

    /// Like [`Model::rejects`], for what takes weak memory, or an order too rare, so that shuttle would not find it.
    pub fn loom_rejects(self, mistake: Mistake, expected: &str) -> Self {
        if cfg!(loom) { self.rejects(mistake, expected) } else { self }
    }

    /// The number of executions, and the message of the panic that ended them.
    fn run(&self, mistake: Option<Mistake>) -> (String, Option<String>) {
        let count = Arc::new(AtomicUsize::new(0));
        let (body, counted) = (self.body.clone(), count.clone());
        let preemptions = self.preemptions;
        // A thread of its own: after a failure the tools may leave something behind in theirs.
        let explorer = std::thread::spawn(move || {
            MADE.set(mistake);
            explore(preemptions, mistake.is_some(), move || {
                counted.fetch_add(1, Ordering::Relaxed);
                body();
            })
        });
        let outcome = explorer.join();
        let executions = format!("{} executions", count.load(Ordering::Relaxed));
        match outcome {
            Ok(how) => (executions + &how, None),
            Err(panic) => (executions, Some(message(&*panic))),
        }
    }

    #[cfg(loom)]
    fn bound(&self) -> String {
        self.preemptions.map_or(", all there are".to_owned(), |n| format!(", all with at most {n} preemptions"))
    }

    #[cfg(shuttle)]
    fn bound(&self) -> &'static str {
        ""
    }
}

#[cfg(loom)]
const TOOL: &str = "loom:";
#[cfg(shuttle)]
const TOOL: &str = "shuttle:";

#[cfg(loom)]
fn explore(preemptions: Option<usize>, _: bool, body: impl Fn() + Send + Sync + 'static) -> String {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check(body);
    String::new()
}

/// Schedules that each of the two schedulers tries.
#[cfg(shuttle)]
const SCHEDULES: usize = 3000;
/// How often the PCT scheduler changes its mind in one schedule.
#[cfg(shuttle)]
const DEPTH: usize = 3;

/// Tries `SCHEDULES` random schedules, then as many of the PCT scheduler, which finds bugs that need few preemptions. `STREWN_SEED` picks them.
#[cfg(shuttle)]
fn explore(_: Option<usize>, mistake: bool, body: impl Fn() + Send + Sync + 'static) -> String {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    if mistake {
        config.failure_persistence = shuttle::FailurePersistence::None;
    }
    let seed = match std::env::var("STREWN_SEED") {
        // Whether a mistake is found must not depend on chance.
        _ if mistake => 1,
        Ok(text) => text.parse().expect("STREWN_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    let body = Arc::new(body);
    let shared = body.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        shuttle::Runner::new(RandomScheduler::new_from_seed(seed, SCHEDULES), config.clone()).run(move || shared());
        shuttle::Runner::new(PctScheduler::new_from_seed(seed, DEPTH, SCHEDULES), config).run(move || body());
    }));
    if let Err(panic) = outcome {
        if !mistake {
            say(&format!("shuttle: failed with seed {seed}; to replay: STREWN_SEED={seed} and the same command"));
        }
        std::panic::resume_unwind(panic);
    }
    format!(" (half random, half PCT of depth {DEPTH}, STREWN_SEED={seed})")
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Prints a line that the test harness does not swallow.
fn say(line: &str) {
    // Nobody to tell if standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A thread of a model that calls the operating system, for which loom's usual stacks are too small.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> super::sync::thread::JoinHandle<T> {
    super::sync::thread::Builder::new().stack_size(1 << 18).spawn(f).expect("models have threads")
}

/// The size of something in a model: loom tries every order of few steps, shuttle some orders of many.
pub const fn size(loom: usize, shuttle: usize) -> usize {
    if cfg!(shuttle) { shuttle } else { loom }
}
