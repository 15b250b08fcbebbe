//! [`Heap`]: the public face of an open heap.

use crate::base::sync::lock;
use crate::base::{ErrorKind, Result};
use crate::checkpoint::{CutReport, Ticket};
use crate::engine::Engine;
use crate::options::HeapOptions;
use crate::section::Section;
use crate::stats::Stats;
use crate::ticker::Ticker;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An open heap. Share it between threads by reference.
///
/// Do not open the file `lock` in its directory from the process that has it open, for example to copy the directory: closing it again would drop
/// the lock that keeps other processes out (a property of `fcntl` locks).
///
/// Dropping a heap without [`close`](Heap::close) is like a crash at the last checkpoint: nothing modified since is kept.
pub struct Heap {
    engine: Arc<Engine>,
}

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heap").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Heap {
    pub(crate) fn new(engine: Engine) -> Self {
        let engine = Arc::new(engine);
        crate::engine::announce(&engine);
        Self { engine }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The default options.
    pub fn options() -> HeapOptions {
        HeapOptions::default()
    }

    /// Opens the heap at `path` with the default options. See [`HeapOptions::open`].
    ///
    /// # Errors
    /// As for [`HeapOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Creates a heap at `path` with the default options. See [`HeapOptions::create`].
    ///
    /// # Errors
    /// As for [`HeapOptions::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().create(path)
    }

    /// Opens the heap at `path`, or creates it if there is nothing. See [`HeapOptions::open_or_create`].
    ///
    /// # Errors
    /// As for [`HeapOptions::open`] and [`HeapOptions::create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open_or_create(path)
    }

    /// Begins a section: objects are allocated, read and written inside one, and no checkpoint shows half of it. Sections of one thread nest. Blocks
    /// while a checkpoint makes its cut. Keep sections short: a cut waits for them.
    ///
    /// Inside a section, wait for nothing that another thread does in a section (a lock that it holds, its end, another heap's checkpoint): while a cut
    /// waits for yours, it cannot enter its own. A thread can be inside sections of one heap at a time: to copy from one heap into another, copy to
    /// ordinary memory first.
    ///
    /// A panic that unwinds out of a section may leave half a change behind. What happens then is for [`HeapOptions::on_panic`] to choose: by default
    /// the heap refuses checkpoints until [`Heap::forgive_panic`].
    ///
    /// # Panics
    /// In a forked child, and inside a section of another heap; see [`Heap::try_enter`].
    #[inline]
    pub fn enter(&self) -> Section<'_> {
        match self.try_enter() {
            Ok(section) => section,
            Err(e) => panic!("{e}"),
        }
    }

    /// Like [`Heap::enter`], without the panic.
    ///
    /// # Errors
    /// `Forked` in a child process of the one that opened the heap; `InSection` inside a section of another heap.
    #[inline]
    pub fn try_enter(&self) -> Result<Section<'_>> {
        self.engine.check_not_forked()?;
        Section::new(&self.engine)
    }

    /// Makes everything written so far durable, atomically. Threads are kept out of sections while the modified objects are copied; this call then
    /// blocks until they are on disk. If nothing was modified, nothing is written, but for objects that were modified so densely before that they are
    /// copied without asking: these are copied for a few checkpoints more (how many is up to the [policy](crate::PolicyKind)).
    ///
    /// # Errors
    /// `InSection` if this thread is inside a section; `SectionPanicked` (see [`HeapOptions::on_panic`]); `StorageFull`, `Io`: the last checkpoint is intact, nothing in memory is lost, and the next
    /// checkpoint holds what this one could not write; `Poisoned` after a failed sync: the heap can be read, and must be opened again to go on.
    pub fn checkpoint(&self) -> Result<CutReport> {
        self.engine.checkpoint()?.wait()
    }

    /// Like [`Heap::checkpoint`], but returns as soon as the modified objects are copied; the ticket tells when they are on disk. Blocks while two
    /// earlier checkpoints wait for the disk.
    ///
    /// # Errors
    /// `InSection`, `SectionPanicked`, `Forked`; what the disk reports, the ticket does.
    pub fn checkpoint_async(&self) -> Result<Ticket> {
        self.engine.checkpoint()
    }

    /// Makes a checkpoint every `interval`, on a thread of its own, for as long as the ticker lives.
    ///
    /// # Errors
    /// If the operating system has no thread to give.
    pub fn checkpoint_every(&self, interval: Duration) -> Result<Ticker<'_>> {
        Ticker::start(&self.engine, interval)
    }

    /// Accepts what a section that panicked left behind: checkpoints are made again, and hold it.
    pub fn forgive_panic(&self) {
        self.engine.threads.set_panicked(false);
    }

    /// The names of all roots.
    pub fn root_names(&self) -> Vec<String> {
        lock(&self.engine.roots).names()
    }

    /// What the heap counts.
    ///
    /// # Errors
    /// If the operating system does not tell how much memory is in use.
    pub fn stats(&self) -> Result<Stats> {
        self.engine.stats()
    }

    /// Where the heap is stored.
    pub fn path(&self) -> &Path {
        self.engine.path()
    }

    /// What tells this heap from all others.
    pub fn id(&self) -> [u8; 16] {
        self.engine.heap_id()
    }

    /// Checks the allocator's invariants, in time proportional to the heap. For tests.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        self.engine.allocator.check();
    }

    /// Makes a last checkpoint, folds the log into the image, and closes the heap. Returns what was counted, this included.
    ///
    /// # Errors
    /// As for [`Heap::checkpoint`], and what folding reports. The heap is closed all the same, and can be opened as of its last durable checkpoint; but with `InSection`, which a
    /// leaked section of this thread leads to, it stays open for ever.
    pub fn close(self) -> Result<Stats> {
        let last = self.checkpoint();
        // A ticker that was stopped inside a section, or leaked, holds the engine for as long as its last checkpoint takes.
        if let Err(e) = &last
            && e.kind() == ErrorKind::InSection
        {
            return Err(e.clone());
        }
        let mut shared = self.engine.clone();
        drop(self);
        let engine = loop {
            match Arc::try_unwrap(shared) {
                Ok(engine) => break engine,
                Err(still) => shared = still,
            }
            std::thread::sleep(Duration::from_micros(100));
        };
        let closed = engine.close();
        last.and(closed)
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // Someone is inside a section that was leaked: that thread still refers to the engine (I1 in `section.rs`), which therefore stays, for as long as the process does.
        if self.engine.threads.is_anyone_inside() {
            std::mem::forget(self.engine.clone());
        }
    }
}
