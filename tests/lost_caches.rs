//! Real file systems that lose what they have not written: below running workers, which say what is durable.
//!
//! Root and `STREWN_MACHINES=1`; else `SKIP: why`. `STREWN_CRASH=long` tries eight times as often, `STREWN_ROUNDS` says how often, `STREWN_SEED` replays the
//! choices (not the scheduling of threads).

#[path = "lost_caches/shut_down.rs"]
mod shut_down;
#[path = "lost_caches/snapshots.rs"]
mod snapshots;

use rand::{Rng, rngs::SmallRng};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strewn::TrackerKind;
use strewn_tests::rounds::Rounds;
use strewn_tests::trackers::trackers;
use strewn_tests::worker::{Promise, Worker};

const WORKER: &str = env!("CARGO_BIN_EXE_strewn-disk-worker");
/// xfs wants 300 MB; little of that is ever touched.
const DISK_BYTES: u64 = 320 << 20;

/// One heap, over all that happens to it.
struct Victim {
    tracker: TrackerKind,
    name: String,
    /// What is known to be durable, from all workers before the present one.
    promise: Promise,
}

/// What happened in all.
#[derive(Default)]
struct Tally {
    states: u64,
    unopened: u64,
    checkpoints: u64,
    folds: u64,
}

impl Victim {
    /// One for each tracker.
    fn all() -> Vec<Self> {
        let new = |tracker| Self { tracker, name: format!("{tracker}.heap"), promise: Promise::default() };
        trackers().into_iter().map(new).collect()
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(&self.name)
    }

    fn start(&self, dir: &Path, rng: &mut SmallRng) -> Worker {
        Worker::start(WORKER, &self.path(dir), self.tracker, rng.random())
    }

    /// What holds once the present worker has promised `said`.
    fn owed(&self, said: &Promise) -> Promise {
        Promise {
            open: self.promise.open || said.open,
            generation: self.promise.generation.max(said.generation),
            ..said.clone()
        }
    }
}

impl Tally {
    /// One heap that was looked at, when its worker had promised `said`.
    fn looked(&mut self, said: &Promise) {
        self.states += 1;
        self.unopened += u64::from(!said.open);
    }

    /// A worker that has promised `said` in all.
    fn worked(&mut self, said: &Promise) {
        self.checkpoints += said.checkpoints;
        self.folds += said.folds;
    }

    /// Tells of a suite's end.
    fn report(&self, rounds: &Rounds, what: &str) {
        rounds.report(&format!("{} {what}: {self}", rounds.count));
        let enough = self.checkpoints > self.states && self.folds > 20;
        assert!(rounds.count < 20 || enough, "too little happened");
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { states, unopened, checkpoints, folds } = self;
        write!(
            f,
            "{states} states of heaps ({unopened} before the heap was open), {checkpoints} checkpoints acknowledged, {folds} folds"
        )
    }
}

/// A moment at which something may happen: usually some checkpoints after the heap is open, sometimes right after it is, or before.
fn wait_a_moment(workers: &[Worker], rng: &mut SmallRng) {
    let (kind, checkpoints) = (rng.random_range(0..8), rng.random_range(1..20));
    let (early, late) = [30_000, 40_000].map(|most| Duration::from_micros(rng.random_range(0..most))).into();
    match kind {
        0 => std::thread::sleep(early),
        1 => workers.iter().for_each(|worker| worker.wait_for(0)),
        _ => {
            workers.iter().for_each(|worker| worker.wait_for(checkpoints));
            std::thread::sleep(late);
        }
    }
}
