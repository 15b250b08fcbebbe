//! [`Writer`]: the thread that makes cuts durable, in their order, one record and one sync at a time.
//!
//! Invariants:
//! - W1. A record is appended only if every record cut before it is durable. After a failure all queued records fail with it.
//! - W2. A record that failed is kept as owed until the next cut takes it; a cut that was prepared before it knew of the failure fails too.
//! - W3. A panic while appending ends the store: that checkpoint and all later ones fail with `Poisoned`, and nobody waits for ever.

use super::ticket::Pending;
use crate::base::sync::{self, Condvar, Mutex, MutexGuard, lock, mpsc, thread};
use crate::base::{Epoch, Error, ErrorKind, Mistake, Result};
use crate::durable::{LogStore, Record};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Cuts that may wait for the disk; a further one waits before it stops the world. Bounds the staging memory.
const QUEUE_MAX: usize = if cfg!(loom) { 1 } else { 2 };

/// Buffers up to this size are kept as they are.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// A cut on its way to the disk.
pub struct Job {
    /// Its number.
    pub epoch: Epoch,
    /// What it holds.
    pub record: Record,
    /// Who waits for it.
    pub pending: Arc<Pending>,
}

/// Where records become durable: a [`LogStore`], or what a model puts in its place.
pub trait Journal: Send + 'static {
    /// Makes `record` durable as `epoch`.
    ///
    /// # Errors
    /// Nothing was committed, or nothing later will be.
    fn append(&mut self, epoch: Epoch, record: &mut Record) -> Result<()>;
}

impl Journal for LogStore {
    fn append(&mut self, epoch: Epoch, record: &mut Record) -> Result<()> {
        LogStore::append(self, epoch, record).map(|_| ())
    }
}

/// The writer thread's front.
pub struct Writer<J: Journal = LogStore> {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<Option<J>>>,
}

struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    /// A record failed and the next cut has not taken it yet (W2).
    broken: Option<Error>,
    owed: Vec<Record>,
    /// The store panicked (W3).
    dead: Option<Error>,
    /// Buffers to encode the next records in; their memory is warm.
    buffers: Vec<Vec<u8>>,
    stop: bool,
}

/// The writer thread while it waits for the store. Dropped, it ends.
pub struct Idle<J: Journal = LogStore> {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<Option<J>>,
    hand_over: mpsc::Sender<J>,
}

impl<J: Journal> Idle<J> {
    /// Starts the thread. This can fail, so it comes before a heap is created on disk.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub fn start() -> Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            broken: None,
            owed: Vec::new(),
            dead: None,
            buffers: Vec::new(),
            stop: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), moved: Condvar::new() });
        let for_thread = shared.clone();
        let (hand_over, store) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("strewn-writer".into())
            .spawn(move || for_thread.run(store.recv().ok()?))
            .map_err(|e| Error::os("start the writer thread", e))?;
        Ok(Self { shared, thread, hand_over })
    }

    /// Hands over the store, which the thread owns until [`Writer::close`].
    pub fn serve(self, store: J) -> Writer<J> {
        // The thread waits: it cannot have ended while this holds the sender.
        let _ = self.hand_over.send(store);
        Writer { shared: self.shared, thread: Some(self.thread) }
    }
}

impl<J: Journal> Writer<J> {
    /// Waits for room in the queue, and takes what the cut about to be made needs: the records owed, and a buffer.
    pub fn prepare(&self) -> (Vec<Record>, Vec<u8>) {
        let mut state = self.shared.lock();
        while state.queue.len() >= QUEUE_MAX {
            state = self.shared.wait(state);
        }
        state.broken = None;
        (std::mem::take(&mut state.owed), state.buffers.pop().unwrap_or_default())
    }

    /// Hands over a cut. If one before it failed meanwhile, this one fails at once (W2).
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        match state.broken.clone().filter(|_| !Mistake::WriterForgetsFailure.is_made()) {
            Some(e) => state.fail(job, &e),
            None => state.queue.push_back(job),
        }
        drop(state);
        self.shared.moved.notify_all();
    }

    /// Gives back the buffer of a record that is not to be written.
    pub fn recycle(&self, record: Record) {
        self.shared.lock().keep_buffer(record);
    }

    /// Waits until everything handed over is durable or has failed, and ends the thread. Returns the store.
    pub fn close(mut self) -> Option<J> {
        self.stop()
    }

    fn stop(&mut self) -> Option<J> {
        let thread = self.thread.take()?;
        self.shared.lock().stop = true;
        if !Mistake::WriterStopsSilently.is_made() {
            self.shared.moved.notify_all();
        }
        // A panic of the writer was reported on its own thread; its store is gone, as after a crash.
        thread.join().ok().flatten()
    }

    /// Forgets the thread, which exists only in the parent of this forked process.
    pub fn forget(&mut self) {
        if let Some(thread) = self.thread.take() {
            std::mem::forget(thread);
        }
    }
}

impl<J: Journal> Drop for Writer<J> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run<J: Journal>(&self, mut store: J) -> Option<J> {
        let mut state = self.lock();
        loop {
            let Some(mut job) = state.queue.pop_front() else {
                if state.stop {
                    return state.dead.is_none().then_some(store);
                }
                state = self.wait(state);
                continue;
            };
            drop(state);
            self.tell_of_room();
            let result = self.append(&mut store, &mut job);
            if let (Err(e), true) = (&result, Mistake::WriterOwesLate.is_made()) {
                job.pending.resolve(Err(e.clone()));
            }
            state = self.lock();
            match result {
                Ok(_) => {
                    state.keep_buffer(job.record);
                    job.pending.resolve(Ok(job.epoch));
                }
                Err(e) => state.fail_all(job, &e),
            }
            self.tell_of_room();
        }
    }

    fn tell_of_room(&self) {
        if !Mistake::WriterHidesRoom.is_made() {
            self.moved.notify_all();
        }
    }

    fn append(&self, store: &mut impl Journal, job: &mut Job) -> Result<()> {
        if let Some(e) = &self.lock().dead {
            return Err(e.clone());
        }
        // Whatever a panic left half-done in the store is not looked at again (W3); the record is only read.
        let appended = catch_unwind(AssertUnwindSafe(|| store.append(job.epoch, &mut job.record)));
        appended.unwrap_or_else(|_| {
            let what = "the writer panicked; nothing can be made durable until the heap is opened again";
            let e = Error::new(ErrorKind::Poisoned, what);
            if !Mistake::WriterOutlivesPanic.is_made() {
                self.lock().dead = Some(e.clone());
            }
            Err(e)
        })?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        sync::wait(&self.moved, state)
    }
}

impl State {
    /// Keeps the buffer for the next record. One much larger than its record shrinks by half, so that one large checkpoint does not hold
    /// memory for ever.
    fn keep_buffer(&mut self, record: Record) {
        let used = record.payload_len();
        let mut buffer = record.into_buffer();
        if buffer.capacity() > BUFFER_KEPT_BYTES && used < buffer.capacity() / 4 {
            buffer.truncate(0);
            buffer.shrink_to(buffer.capacity() / 2);
        }
        self.buffers.push(buffer);
    }

    /// Fails `job` and everything behind it, and tells the next cut (W1, W2).
    fn fail_all(&mut self, job: Job, e: &Error) {
        self.broken = Some(e.clone());
        self.fail(job, e);
        if Mistake::WriterGoesOn.is_made() {
            return;
        }
        while let Some(job) = self.queue.pop_front() {
            self.fail(job, e);
        }
    }

    fn fail(&mut self, job: Job, e: &Error) {
        job.pending.resolve(Err(e.clone().context(format!("checkpoint {}", job.epoch))));
        self.owed.push(job.record);
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
