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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Heap, PBox};
    use std::sync::mpsc;

    /// Runs `act`, which may hang, on a thread of its own.
    fn within(limit: Duration, act: impl FnOnce() + Send + 'static) {
        let (done, finished) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            act();
            done.send(()).expect("the test waits, or has failed");
        });
        if let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(limit) {
            panic!("not done after {limit:?}");
        }
        thread.join().unwrap();
    }

    #[test]
    fn dropped_inside_a_section_it_does_not_wait_for_the_checkpoint_that_does() {
        within(Duration::from_secs(10), || {
            let dir = tempfile::tempdir().unwrap();
            let heap = Heap::create(dir.path().join("a.heap")).unwrap();
            let section = heap.enter();
            PBox::new(1u64, &section).unwrap();
            let ticker = heap.checkpoint_every(Duration::from_millis(1)).unwrap();
            // By then a checkpoint waits for this section to end.
            std::thread::sleep(Duration::from_millis(50));
            drop(ticker);
            drop(section);
            heap.close().unwrap();
        });
    }

    #[test]
    fn an_interval_without_end_never_ticks() {
        within(Duration::from_secs(10), || {
            let dir = tempfile::tempdir().unwrap();
            let heap = Heap::create(dir.path().join("a.heap")).unwrap();
            let ticker = heap.checkpoint_every(Duration::MAX).unwrap();
            let boxed = PBox::new(7u64, &heap.enter()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(heap.stats().unwrap().checkpoints, 0);
            ticker.stop().unwrap();
            assert_eq!(*boxed.get(&heap.enter()), 7);
            heap.checkpoint().unwrap();
            assert_eq!(heap.stats().unwrap().checkpoints, 1);
        });
    }
}
