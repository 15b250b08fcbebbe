//! [`Shared`]: running folds, and what became of them.
//!
//! 1. At most one fold runs; `running` is set before it starts and cleared when its outcome is known, also by a panic.
//! 2. `sealed` is cleared by the success of its fold, together with the change of `superblock`, and by nothing else.
//! 3. `poison` is never cleared.
//!
//! Must not: decide when to fold (`store.rs`).

use std::sync::Arc;

use super::failure::{Counters, Failure};
use super::fold::fold;
use super::segment::ChainEnd;
use super::storage::Storage;
use super::superblock::Superblock;
use crate::base::sync::{Condvar, Mutex, MutexGuard, lock};
use crate::base::{Error, ErrorKind, Result};

/// What the appending thread and the folding thread share.
pub struct Shared {
    pub storage: Arc<dyn Storage>,
    pub counters: Counters,
    pub state: Mutex<FoldState>,
    fold_ended: Condvar,
}

/// Where folding stands.
pub struct FoldState {
    pub superblock: Superblock,
    /// The sealed segment, until it is folded.
    pub sealed: Option<ChainEnd>,
    pub running: bool,
    /// Why the last attempt at `sealed` failed.
    pub error: Option<Error>,
    /// The failed sync after which nothing is written.
    pub poison: Option<Error>,
}

impl Shared {
    /// Of a store whose image is `superblock`'s, with nothing sealed.
    pub fn new(storage: Arc<dyn Storage>, superblock: Superblock) -> Self {
        let state = FoldState { superblock, sealed: None, running: false, error: None, poison: None };
        Self { storage, counters: Counters::default(), state: Mutex::new(state), fold_ended: Condvar::new() }
    }

    /// Refuses to go on after a failed sync.
    pub fn check_poison(&self, state: &FoldState) -> Result<()> {
        match &state.poison {
            None => Ok(()),
            Some(cause) => {
                let path = self.storage.path().display();
                let message = format!("{path}: nothing can be written until the heap is opened again, since: {cause}");
                Err(Error::new(ErrorKind::Poisoned, message))
            }
        }
    }

    /// Takes note of a failure, and returns the error for the caller.
    pub fn note(&self, failure: Failure) -> Error {
        if let Failure::Poison(error) = &failure {
            lock(&self.state).poison.get_or_insert(error.clone());
        }
        failure.into_error()
    }

    /// Waits until no fold runs.
    pub fn wait_for_fold(&self) -> MutexGuard<'_, FoldState> {
        let mut state = lock(&self.state);
        while state.running {
            state = self.fold_ended.wait(state).unwrap_or_else(|poison| poison.into_inner());
        }
        state
    }

    /// Folds the sealed segment, if there is one and nothing forbids it, and says so.
    pub fn run_fold(&self) {
        let mut state = lock(&self.state);
        let (superblock, sealed) = (state.superblock, state.sealed.filter(|_| state.poison.is_none()));
        state.running = true;
        drop(state);
        let mut outcome = FoldGuard { shared: self, result: None };
        outcome.result = sealed.map(|sealed| fold(&*self.storage, &self.counters, &superblock, sealed));
        if sealed.is_none() {
            outcome.result = Some(Ok(superblock));
        }
    }
}

/// Publishes the result of a fold when dropped, also by a panic.
struct FoldGuard<'a> {
    shared: &'a Shared,
    result: Option<Result<Superblock, Failure>>,
}

impl Drop for FoldGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        let panicked =
            || Err(Failure::Poison(Error::new(ErrorKind::Io, "the fold of the log into the image panicked")));
        match self.result.take().unwrap_or_else(panicked) {
            Ok(superblock) if superblock == state.superblock => {}
            Ok(superblock) => {
                state.superblock = superblock;
                state.sealed = None;
                state.error = None;
            }
            Err(failure) => {
                if let Failure::Poison(error) = &failure {
                    state.poison.get_or_insert(error.clone());
                }
                state.error = Some(failure.into_error().context("folding the log into the image"));
            }
        }
        state.running = false;
        drop(state);
        self.shared.fold_ended.notify_all();
    }
}
