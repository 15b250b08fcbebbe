//! [`History`]: what processes did to one heap, operation by operation, and what they were promised by then.
//!
//! Positions are numbers of operations in the journal. An attempt at an epoch begins before its record is appended, is acknowledged when that returns, and is given
//! up when a later process opens the heap and does not find it.

use crate::sim::{Coins, Fault, Op, SimDisk};
use crate::store_model::{self as store, Model, OPTIONS};
use std::ops::Range;
use std::sync::Arc;
use strewn::testing::{Epoch, LogStore, StoreOptions};
use strewn::{ErrorKind, Result};

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Epochs that are attempted.
    pub epochs: u64,
    /// Bytes of a log segment.
    pub log_bytes: u64,
    /// Once in how many epochs the heap is closed, or left, and opened again; 0 for never.
    pub reopen_one_in: u64,
    /// The operation that fails, and how.
    pub fault: Option<(u64, i32)>,
    /// Whether folds are as late as they can be, among the appends that follow, instead of before them.
    pub late_folds: bool,
}

/// One try to make an epoch durable.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number.
    pub epoch: u64,
    /// What the heap holds then.
    pub model: Arc<Model>,
    /// From where on it may be found.
    pub begun: usize,
    /// From where on it, or a later one, must be.
    pub acked: Option<usize>,
    /// From where on it may not be found any more.
    pub given_up: Option<usize>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    /// The operations.
    pub ops: Vec<Op>,
    /// The options that the heap was created with.
    pub options: StoreOptions,
    /// From where on there must be a heap.
    pub created: Option<usize>,
    attempts: Vec<Attempt>,
    /// Where the fault that was planned happened, if it did.
    pub fault_hit_at: Option<usize>,
    /// Operations that could have failed.
    pub fallible: u64,
    /// Operations of creating, opening and closing the heap, during which nothing else goes on.
    pub quiet: Vec<Range<usize>>,
}

/// What recovery may find.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// Whether there may be no heap.
    pub nothing: bool,
    /// The epochs that may be found, and what is in them.
    pub epochs: Vec<(u64, Arc<Model>)>,
}

impl History {
    /// A history of one process that went well.
    pub fn new(ops: Vec<Op>, attempts: Vec<Attempt>) -> Self {
        Self { ops, options: OPTIONS, created: Some(0), attempts, fault_hit_at: None, fallible: 0, quiet: Vec::new() }
    }

    /// The attempts, in their order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// What was after the first p operations is after the first `place[p]` from now on.
    pub fn move_positions(&mut self, place: &[usize]) {
        let moved = |at: &mut Option<usize>| *at = at.map(|at| place[at]);
        moved(&mut self.created);
        for attempt in &mut self.attempts {
            attempt.begun = place[attempt.begun];
            moved(&mut attempt.acked);
            moved(&mut attempt.given_up);
        }
    }

    /// What recovery may find after the first `cut` operations.
    pub fn allowed(&self, cut: usize) -> Allowed {
        let there = |attempt: &&Attempt| attempt.begun <= cut && attempt.given_up.is_none_or(|at| at > cut);
        let attempts: Vec<&Attempt> = self.attempts.iter().filter(there).collect();
        let acked = attempts.iter().filter(|attempt| attempt.acked.is_some_and(|at| at <= cut));
        let least = acked.map(|attempt| attempt.epoch).max().unwrap_or(0);
        let epochs = attempts.iter().filter(|attempt| attempt.epoch >= least);
        Allowed {
            nothing: self.created.is_none_or(|at| at > cut),
            epochs: epochs.map(|attempt| (attempt.epoch, attempt.model.clone())).collect(),
        }
    }
}

/// Does what `plan` says, with the choices of `seed`.
///
/// # Errors
/// What a process was told that it should not have been.
pub fn record(plan: Plan, seed: u64) -> Result<History, String> {
    let disk = SimDisk::new();
    disk.set_fault(Fault { op: plan.fault, space: None });
    let mut recorder = Recorder {
        disk,
        coins: Coins::new(seed),
        options: StoreOptions { log_bytes: plan.log_bytes, ..OPTIONS },
        attempts: Vec::new(),
        created: None,
        quiet: Vec::new(),
    };
    recorder.run(plan)?;
    let ops = recorder.disk.journal();
    let Recorder { disk, options, created, attempts, quiet, .. } = recorder;
    let ((fallible, _), fault_hit_at) = (disk.counts(), disk.fault_hit_at());
    let mut history = History { ops, options, created, attempts, fault_hit_at, fallible, quiet };
    if plan.late_folds {
        super::late::delay_folds(&mut history, &mut Coins::new(seed));
    }
    Ok(history)
}

/// Whether nothing may be accepted after this error.
fn is_of_a_sync(error: &strewn::Error) -> bool {
    error.to_string().contains("sync") || error.kind() == ErrorKind::Poisoned
}

struct Recorder {
    disk: Arc<SimDisk>,
    coins: Coins,
    options: StoreOptions,
    attempts: Vec<Attempt>,
    created: Option<usize>,
    quiet: Vec<Range<usize>>,
}

impl Recorder {
    fn at(&self) -> usize {
        self.disk.counts().1
    }

    fn run(&mut self, plan: Plan) -> Result<(), String> {
        let empty = Attempt { epoch: 0, model: Arc::default(), begun: 0, acked: None, given_up: None };
        self.attempts.push(empty);
        let mut store = self.create()?;
        self.created = Some(self.at());
        self.quiet.push(0..self.at());
        let mut model = Model::default();
        let mut epoch = 0;
        while epoch < plan.epochs {
            let mut record = model.change(&mut self.coins);
            epoch += 1;
            let model_now = Arc::new(model.clone());
            self.attempts.push(Attempt { epoch, model: model_now, begun: self.at(), acked: None, given_up: None });
            let mut appended = store.append(Epoch(epoch), &mut record);
            // What failed before a sync may be tried again at once.
            if appended.as_ref().is_err_and(|e| e.kind() == ErrorKind::StorageFull) && self.coins.one_in(2) {
                appended = store.append(Epoch(epoch), &mut record);
            }
            let failed = match appended {
                Ok(_) => {
                    self.acknowledge(epoch);
                    false
                }
                Err(error) if !is_of_a_sync(&error) && self.coins.one_in(2) => {
                    // The process goes on, with another record.
                    let durable =
                        self.attempts.iter().rfind(|attempt| attempt.acked.is_some() && attempt.given_up.is_none());
                    model = durable.map_or_else(Model::default, |attempt| Model::clone(&attempt.model));
                    continue;
                }
                Err(error) => {
                    self.check_poison(&mut store, &error, epoch)?;
                    true
                }
            };
            if failed || plan.reopen_one_in > 0 && self.coins.one_in(plan.reopen_one_in) {
                store = self.reopen(store, failed)?;
                let last = self.attempts.iter().rfind(|attempt| attempt.given_up.is_none()).expect("epoch 0 is there");
                (epoch, model) = (last.epoch, Model::clone(&last.model));
            }
        }
        // A fault may lie in closing; what was acknowledged stays.
        let begun = self.at();
        let _ = store.close();
        self.quiet.push(begun..self.at());
        Ok(())
    }

    fn create(&mut self) -> Result<LogStore, String> {
        let first = store::create(&self.disk, &self.options);
        let created = match first {
            // The heap may have got its name before what failed.
            Err(_) => match store::open(&self.disk) {
                Ok((store, ..)) => Ok(store),
                Err(_) => store::create(&self.disk, &self.options),
            },
            created => created,
        };
        created.map_err(|e| format!("creating a heap, the second time: {e:?}"))
    }

    fn acknowledge(&mut self, epoch: u64) {
        let at = self.at();
        let attempt = self.attempts.iter_mut().rfind(|attempt| attempt.epoch == epoch).expect("it was attempted");
        attempt.acked.get_or_insert(at);
    }

    /// After a sync that failed nothing may be accepted; after anything else it may.
    fn check_poison(&mut self, store: &mut LogStore, error: &strewn::Error, epoch: u64) -> Result<(), String> {
        if !is_of_a_sync(error) {
            return Ok(());
        }
        let mut record = Model::clone(&self.attempts[0].model).change(&mut Coins::new(1));
        match store.append(Epoch(epoch + 1), &mut record) {
            Err(e) if e.kind() == ErrorKind::Poisoned => Ok(()),
            other => Err(format!("after a sync had failed ({error}), a record was met with {other:?}")),
        }
    }

    /// Ends this process and starts the next one. After a failure the first is never closed.
    fn reopen(&mut self, ended: LogStore, failed: bool) -> Result<LogStore, String> {
        let begun = self.at();
        if failed {
            drop(ended)
        } else {
            store::end(ended, &mut self.coins)
        }
        // A fault may lie here.
        let opened = store::open(&self.disk).or_else(|_| store::open(&self.disk));
        let (store, found, model) = opened.map_err(|e| format!("opening the heap again: {e:?}"))?;
        let (at, last) = (self.at(), self.attempts.iter().filter(|attempt| attempt.given_up.is_none()));
        let least = last.filter(|attempt| attempt.acked.is_some()).map(|attempt| attempt.epoch).max().unwrap_or(0);
        let is_it = |attempt: &&mut Attempt| attempt.given_up.is_none() && attempt.epoch == found.0;
        match self.attempts.iter_mut().rfind(is_it) {
            Some(attempt) if found.0 >= least && *attempt.model == model => attempt.acked.get_or_insert(at),
            _ => return Err(format!("epoch {found} was found, or other contents; {least} was acknowledged")),
        };
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.epoch > found.0) {
            attempt.given_up.get_or_insert(at);
        }
        self.quiet.push(begun..at);
        Ok(store)
    }
}
