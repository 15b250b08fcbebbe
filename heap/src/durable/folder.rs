//! [`Folder`]: running folds, waiting for them, and what became of them.
//!
//! 1. At most one fold runs; `running` is set before it starts and cleared when its outcome is known, also by a panic.
//! 2. `sealed` is cleared by the success of its fold, together with the change of `superblock`, and by nothing else.
//! 3. `poison` is never cleared.
//!
//! Must not: know what a fold is (`fold.rs`), or write the log (`store.rs`).

use std::path::Path;
use std::sync::Arc;

use super::failure::{Counters, Failure};
use super::fold::fold;
use super::segment::ChainEnd;
use super::storage::Storage;
use super::superblock::Superblock;
use crate::base::sync::{Condvar, Mutex, MutexGuard, lock, thread, wait};
use crate::base::{Error, ErrorKind, Mistake, Result};

/// What the appending thread and the folding thread share.
pub struct Shared {
    pub storage: Arc<dyn Storage>,
    pub counters: Counters,
    pub folding: Folding,
}

impl Shared {
    /// Of a store whose image is `superblock`'s, with nothing sealed.
    pub fn new(storage: Arc<dyn Storage>, superblock: Superblock) -> Self {
        Self { storage, counters: Counters::default(), folding: Folding::new(superblock) }
    }
}

/// What is folded: a [`Shared`] on its storage, or what a model puts in its place.
pub trait Fold: Send + Sync + 'static {
    /// Where it stands.
    fn folding(&self) -> &Folding;

    /// Brings the image up to the end of the segment `sealed`.
    ///
    /// # Errors
    /// The image is what `superblock` says, or can be made so from it and the segment.
    fn fold(&self, superblock: &Superblock, sealed: ChainEnd) -> Result<Superblock, Failure>;

    /// Where it is stored, for errors.
    fn path(&self) -> &Path;
}

impl Fold for Shared {
    fn folding(&self) -> &Folding {
        &self.folding
    }

    fn fold(&self, superblock: &Superblock, sealed: ChainEnd) -> Result<Superblock, Failure> {
        fold(&*self.storage, &self.counters, superblock, sealed)
    }

    fn path(&self) -> &Path {
        self.storage.path()
    }
}

/// Where folding stands, for all threads of a store.
pub struct Folding {
    state: Mutex<FoldState>,
    ended: Condvar,
}

struct FoldState {
    superblock: Superblock,
    /// The sealed segment, until it is folded.
    sealed: Option<ChainEnd>,
    running: bool,
    /// Why the last attempt at `sealed` failed.
    error: Option<Error>,
    /// The failed sync after which nothing is written.
    poison: Option<Error>,
}

impl FoldState {
    /// Refuses to go on after a failed sync.
    fn check_poison(&self, path: &Path) -> Result<()> {
        self.poison.as_ref().map_or(Ok(()), |cause| {
            let path = path.display();
            let message = format!("{path}: nothing can be written until the heap is opened again, since: {cause}");
            Err(Error::new(ErrorKind::Poisoned, message))
        })
    }
}

impl Folding {
    /// Of a store whose image is `superblock`'s, with nothing sealed.
    pub fn new(superblock: Superblock) -> Self {
        let state = FoldState { superblock, sealed: None, running: false, error: None, poison: None };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// Takes note of a failure, and returns the error for the caller.
    pub fn note(&self, failure: Failure) -> Error {
        if let Failure::Poison(error) = &failure {
            lock(&self.state).poison.get_or_insert(error.clone());
        }
        failure.into_error()
    }

    /// `segment` is sealed, and the one before it was folded.
    pub fn seal(&self, segment: ChainEnd) {
        let mut state = lock(&self.state);
        debug_assert!(state.sealed.is_none() && state.superblock.log_generation == segment.generation);
        state.sealed = Some(segment);
    }

    /// Waits until no fold runs.
    fn wait(&self) -> MutexGuard<'_, FoldState> {
        let mut state = lock(&self.state);
        while state.running {
            state = wait(&self.ended, state);
        }
        state
    }
}

/// Folds the sealed segment, if there is one and nothing forbids it, and says so.
fn run<F: Fold>(on: &F) {
    let mut state = lock(&on.folding().state);
    let (superblock, sealed) = (state.superblock, state.sealed.filter(|_| state.poison.is_none()));
    state.running = !Mistake::FoldRunsUnseen.is_made();
    if Mistake::FoldFreesEarly.is_made() {
        state.sealed = None;
    }
    drop(state);
    let mut outcome = FoldGuard { folding: on.folding(), result: None };
    outcome.result = Some(sealed.map_or(Ok(superblock), |sealed| on.fold(&superblock, sealed)));
}

/// Publishes the result of a fold when dropped, also by a panic.
struct FoldGuard<'a> {
    folding: &'a Folding,
    result: Option<Result<Superblock, Failure>>,
}

impl Drop for FoldGuard<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.folding.state);
        let panicked =
            || Err(Failure::Poison(Error::new(ErrorKind::Io, "the fold of the log into the image panicked")));
        if self.result.is_none() && Mistake::FoldPanicsSilently.is_made() {
            return;
        }
        match self.result.take().unwrap_or_else(panicked) {
            Ok(superblock) if superblock == state.superblock => {}
            Ok(superblock) => {
                state.superblock = superblock;
                state.sealed = None;
                state.error = None;
            }
            Err(failure) => {
                if let Failure::Poison(error) = &failure
                    && !Mistake::FoldIgnoresPoison.is_made()
                {
                    state.poison.get_or_insert(error.clone());
                }
                state.error = Some(failure.into_error().context("folding the log into the image"));
            }
        }
        state.running = false;
        drop(state);
        if !Mistake::FoldEndsSilently.is_made() {
            self.folding.ended.notify_all();
        }
    }
}

/// Whether an append may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// In the active segment.
    Active,
    /// In the other one, which is free: the active one is full, and to be [sealed](Folding::seal).
    Other,
}

/// The appending thread's side: starts folds, and waits for them.
pub struct Folder<F: Fold> {
    on: Arc<F>,
    thread: Option<thread::JoinHandle<()>>,
    /// Whether folds run in a thread of their own.
    background: bool,
}

impl<F: Fold> Folder<F> {
    /// One that has started nothing.
    pub fn new(on: Arc<F>, background: bool) -> Self {
        Self { on, thread: None, background }
    }

    /// Refuses to go on after a failed sync.
    ///
    /// # Errors
    /// `Poisoned`.
    pub fn check_poison(&self) -> Result<()> {
        lock(&self.on.folding().state).check_poison(self.on.path())
    }

    /// Where there is room for a record, if the active segment ends at `end`. Waits for the fold of the other one if there is no other way, and
    /// tries one that failed once more.
    ///
    /// # Errors
    /// `Poisoned`, or why that fold failed.
    pub fn make_room(&mut self, end: u64) -> Result<Room> {
        let mut tried = false;
        loop {
            let state = lock(&self.on.folding().state);
            state.check_poison(self.on.path())?;
            if end < state.superblock.log_bytes {
                return Ok(Room::Active);
            }
            if state.sealed.is_none() {
                return Ok(Room::Other);
            }
            match &state.error {
                Some(error) if tried && !state.running => return Err(error.clone()),
                _ => {}
            }
            tried |= !state.running;
            let running = state.running;
            drop(state);
            if running { drop(self.on.folding().wait()) } else { self.start() }
        }
    }

    /// Folds the sealed segment, if there is one, here and now.
    ///
    /// # Errors
    /// `Poisoned`, or why the fold failed.
    pub fn finish(&mut self) -> Result<()> {
        drop(self.on.folding().wait());
        run(&*self.on);
        let state = lock(&self.on.folding().state);
        state.check_poison(self.on.path())?;
        state.error.clone().map_or(Ok(()), Err)
    }

    /// Starts folding in the background. No fold may be running.
    pub fn start(&mut self) {
        self.join();
        if !self.background {
            return run(&*self.on);
        }
        let on = self.on.clone();
        lock(&self.on.folding().state).running = !Mistake::FoldRunsUnseen.is_made();
        let thread = thread::Builder::new().name("strewn-fold".to_owned()).spawn(move || run(&*on));
        match thread {
            Ok(thread) => self.thread = Some(thread),
            // No thread to be had: fold here, late but certain.
            Err(_) => run(&*self.on),
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of it was noted by `FoldGuard`.
            let _ = thread.join();
        }
    }
}

impl<F: Fold> Drop for Folder<F> {
    fn drop(&mut self) {
        self.join();
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
