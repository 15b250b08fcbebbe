//! [`Ticker`]: checkpoints at a steady pace.

use crate::base::{Error, ErrorKind, Result};
use crate::engine::Engine;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Makes checkpoints at a steady pace until it is dropped or stopped. After a failed one it goes on trying.
#[must_use = "a ticker stops when it is dropped"]
pub struct Ticker<'h> {
    shared: Arc<Shared>,
    engine: Weak<Engine>,
    thread: Option<JoinHandle<()>>,
    _heap: PhantomData<&'h Engine>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Default)]
struct State {
    stop: bool,
    failure: Option<Error>,
}

impl Ticker<'_> {
    pub(crate) fn start(engine: &Arc<Engine>, interval: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        // Weak, so that a leaked ticker does not keep the heap open.
        let engine = Arc::downgrade(engine);
        let theirs = engine.clone();
        let thread = std::thread::Builder::new()
            .name("strewn-ticker".into())
            .spawn(move || for_thread.run(&theirs, interval))
            .map_err(|e| Error::os("start the ticker thread", e))?;
        Ok(Self { shared, engine, thread: Some(thread), _heap: PhantomData })
    }

    /// The first failure since the start or the last call, if any checkpoint failed.
    pub fn take_failure(&self) -> Option<Error> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    /// Stops. Blocks while a checkpoint is being made, except inside a section, which that checkpoint may be waiting for: then it ends by itself.
    ///
    /// # Errors
    /// The first failure that [`Ticker::take_failure`] was not asked for.
    pub fn stop(mut self) -> Result<()> {
        self.end();
        self.take_failure().map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.stopped.notify_all();
        if self.engine.upgrade().is_some_and(|engine| engine.threads.is_inside()) {
            return;
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            let e = Error::new(ErrorKind::Poisoned, "a checkpoint panicked on the ticker's thread");
            self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).failure.get_or_insert(e);
        }
    }
}

impl Drop for Ticker<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, engine: &Weak<Engine>, interval: Duration) {
        let later = |when: Instant| when.checked_add(interval);
        let mut next = later(Instant::now());
        while self.sleep_until(next) {
            let Some(engine) = engine.upgrade() else { return };
            let outcome = engine.checkpoint().and_then(|ticket| ticket.wait());
            if let Err(e) = outcome {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.failure.get_or_insert(e);
            }
            drop(engine);
            next = next.and_then(later).map(|next| next.max(Instant::now()));
        }
    }

    /// False when the ticker is to stop. `None` is beyond the end of time.
    fn sleep_until(&self, when: Option<Instant>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.stop {
            let left = when.map_or(Duration::MAX, |when| when.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return true;
            }
            state = self.stopped.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}
