//! [`Ticker`]: checkpoints at a steady pace.

use crate::base::sync::{Condvar, Mutex, lock, thread};
use crate::base::{Error, ErrorKind, Mistake, Result};
use crate::checkpoint::CutReport;
use crate::engine::Engine;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Makes checkpoints at a steady pace until it is dropped or stopped. After a failed one it goes on trying.
#[must_use = "a ticker stops when it is dropped"]
pub struct Ticker<'h> {
    shared: Arc<Shared>,
    engine: Weak<Engine>,
    thread: Option<thread::JoinHandle<()>>,
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
        let thread = thread::Builder::new()
            .name("strewn-ticker".into())
            .spawn(move || for_thread.run(interval, || Some(theirs.upgrade()?.checkpoint().and_then(|t| t.wait()))))
            .map_err(|e| Error::os("start the ticker thread", e))?;
        Ok(Self { shared, engine, thread: Some(thread), _heap: PhantomData })
    }

    /// The first failure since the start or the last call, if any checkpoint failed.
    pub fn take_failure(&self) -> Option<Error> {
        self.shared.take_failure()
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
        self.shared.stop();
        if self.engine.upgrade().is_some_and(|engine| engine.threads.is_inside()) {
            return;
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            let e = Error::new(ErrorKind::Poisoned, "a checkpoint panicked on the ticker's thread");
            lock(&self.shared.state).failure.get_or_insert(e);
        }
    }
}

impl Drop for Ticker<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Calls `checkpoint` at a steady pace, until it is stopped, or gets None.
    fn run(&self, interval: Duration, mut checkpoint: impl FnMut() -> Option<Result<CutReport>>) {
        let later = |when: Instant| when.checked_add(interval);
        let mut next = later(Instant::now());
        while self.sleep_until(next) {
            match checkpoint() {
                None => return,
                Some(Ok(_)) => {}
                Some(Err(e)) if Mistake::TickerForgetsFirst.is_made() => lock(&self.state).failure = Some(e),
                Some(Err(e)) => _ = lock(&self.state).failure.get_or_insert(e),
            }
            next = next.and_then(later).map(|next| next.max(Instant::now()));
        }
    }

    fn stop(&self) {
        lock(&self.state).stop = true;
        if !Mistake::TickerStopsSilently.is_made() {
            self.stopped.notify_all();
        }
    }

    fn take_failure(&self) -> Option<Error> {
        lock(&self.state).failure.take()
    }

    /// False when the ticker is to stop. `None` is beyond the end of time.
    fn sleep_until(&self, when: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        let mut blind = Mistake::TickerSleepsBlindly.is_made();
        while !state.stop || std::mem::take(&mut blind) {
            let left = when.map_or(Duration::MAX, |when| when.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return true;
            }
            state = self.stopped.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;

#[cfg(all(test, not(any(loom, shuttle))))]
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
            PBox::leak(PBox::new_in(1u64, &section));
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
            let root = heap.root::<u64>("seven", |_| Ok(7)).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(heap.stats().unwrap().checkpoints, 0);
            ticker.stop().unwrap();
            assert_eq!(*root.read(&heap.enter()).unwrap(), 7);
            heap.checkpoint().unwrap();
            assert_eq!(heap.stats().unwrap().checkpoints, 1);
        });
    }
}
