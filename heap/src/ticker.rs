//! [`Ticker`]: checkpoints at a steady pace.

use crate::base::{Error, Result};
use crate::engine::Engine;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Makes checkpoints at a steady pace until it is dropped or stopped. After a failed one it goes on trying.
#[must_use = "a ticker stops when it is dropped"]
pub struct Ticker<'h> {
    shared: Arc<Shared>,
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
    pub(crate) fn start(engine: Arc<Engine>, interval: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("strewn-ticker".into())
            .spawn(move || for_thread.run(&engine, interval))
            .map_err(|e| Error::os("start the ticker thread", e))?;
        Ok(Self { shared, thread: Some(thread), _heap: PhantomData })
    }

    /// The first failure since the start or the last call, if any checkpoint failed.
    pub fn take_failure(&self) -> Option<Error> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).failure.take()
    }

    /// Stops. Blocks while a checkpoint is being made.
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
        if let Some(thread) = self.thread.take() {
            // A panic of the ticker was reported on its own thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Ticker<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn run(&self, engine: &Engine, interval: Duration) {
        let mut next = Instant::now() + interval;
        while self.sleep_until(next) {
            let outcome = engine.checkpoint().and_then(|ticket| ticket.wait());
            if let Err(e) = outcome {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.failure.get_or_insert(e);
            }
            next = (next + interval).max(Instant::now());
        }
    }

    /// False when the ticker is to stop.
    fn sleep_until(&self, when: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.stop {
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.stopped.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}
