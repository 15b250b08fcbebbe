//! [`Engine`]: the wiring of one open heap. Who owns what, and in which order things are created and end; no algorithm.

use crate::alloc::Allocator;
use crate::arena::Writes;
use crate::base::sync::{Mutex, lock};
use crate::base::{Canary, Epoch, Error, ErrorKind, Result, canary};
use crate::check::check_catalog;
use crate::checkpoint::{CutState, Idle, Job, Pending, RootTable, Stopped, Threads, Ticket, Writer};
use crate::durable::{Catalog, LogStore, Place, Recovered, StoreMeter, StoreOptions, StoreStats};
use crate::ladder::{Mapping, PolicyKind};
use crate::leaks::TypeNames;
use crate::options::HeapOptions;
use crate::stats::{Counters, Opened, Stats};
use crate::sys;
use crate::track::{self, TrackerKind};
use crate::typed::{Seeds, Walked};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};

/// Empty frames are punched out in stretches of at least this many: one call then returns 64 KiB.
const PUNCH_FRAMES_MIN: u32 = 16;

/// The heaps that are open in this process. Of std, in models too: no model looks at it.
static OPEN: std::sync::Mutex<Vec<Weak<Engine>>> = std::sync::Mutex::new(Vec::new());

/// Makes `engine` known to [`owner_of`].
pub fn announce(engine: &Arc<Engine>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|engine| engine.strong_count() > 0);
    open.push(Arc::downgrade(engine));
}

/// The open heap in which `addr` lies.
pub fn owner_of(addr: u64) -> Option<Arc<Engine>> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().filter_map(Weak::upgrade).find(|engine| engine.allocator.owns(addr))
}

/// The heap address that `object` points to, in whichever open heap.
pub fn address_of(object: *mut u8) -> u64 {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut addresses = open.iter().filter_map(Weak::upgrade).map(|engine| {
        let addr = engine.allocator.address_of(object);
        engine.allocator.owns(addr).then_some(addr)
    });
    addresses.find_map(|addr| addr).unwrap_or(object.addr() as u64)
}

/// Whether this process has one heap open, and no other.
pub fn is_only_one_open() -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.iter().filter(|engine| engine.strong_count() > 0).count() == 1
}

/// What happens when a panic unwinds out of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPanic {
    /// The heap refuses checkpoints with `SectionPanicked`, until [`Heap::forgive_panic`](crate::Heap::forgive_panic) or until it is opened again, as of its last
    /// checkpoint.
    #[default]
    Refuse,
    /// What was done by then is in the next checkpoint, like the work of any section.
    Accept,
    /// The process ends at once (`std::process::abort`), and the heap comes back as of its last checkpoint.
    Abort,
}

/// One open heap.
pub struct Engine {
    path: PathBuf,
    heap_id: [u8; 16],
    /// The fork generation that the heap was opened in.
    generation: u32,
    pub(crate) allocator: Allocator,
    pub(crate) threads: Threads,
    pub(crate) roots: Mutex<RootTable>,
    cuts: Mutex<CutState>,
    counters: Mutex<Counters>,
    writer: Option<Writer>,
    meter: StoreMeter,
    on_panic: OnPanic,
    /// The types of what was allocated, if they are noted.
    pub(crate) types: Option<TypeNames>,
    /// Held while a root is found.
    pub(crate) preparing: Mutex<()>,
    /// Where maps get the seeds of their hashes from.
    pub(crate) seeds: Seeds,
    /// What was reached when roots were first found.
    pub(crate) walked: Mutex<Walked>,
}

impl Engine {
    /// Creates a heap at `path`, once everything else that it needs is there: if this fails, there is none.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub fn create(
        place: &dyn Place,
        path: &Path,
        options: &StoreOptions,
        kind: TrackerKind,
        ladder: (Mapping, PolicyKind),
        writes: Writes,
    ) -> Result<Self> {
        let allocator = Allocator::new(options.heap_id, options.addressing, track::open(kind)?, ladder)?;
        let allocator = allocator.catching(writes);
        let writer = Idle::start()?;
        let store = LogStore::create(place, path, options)?;
        let empty = Recovered {
            heap_id: options.heap_id,
            addressing: options.addressing,
            log_bytes: options.log_bytes,
            epoch: Epoch(0),
            catalog: Catalog { zones: Vec::new(), roots: Vec::new() },
            replayed_records: 0,
            dropped_tail_bytes: 0,
        };
        Ok(Self::assemble(path, allocator, writer, store, empty))
    }

    /// The engine of a store that was just opened: every object is back where it was.
    ///
    /// # Errors
    /// `AddressInUse` if something else is mapped there, `Corrupt` if the image is damaged, or what the operating system refuses.
    pub fn recover(
        path: &Path,
        kind: TrackerKind,
        ladder: (Mapping, PolicyKind),
        writes: Writes,
        mut store: LogStore,
        recovered: Recovered,
    ) -> Result<Self> {
        // What can be refused is refused before `load`, which is the first to write.
        check_catalog(&recovered.catalog, recovered.addressing)?;
        let allocator = Allocator::new(recovered.heap_id, recovered.addressing, track::open(kind)?, ladder)?;
        let allocator = allocator.catching(writes);
        let writer = Idle::start()?;
        allocator.recover(&recovered.catalog, |mappings| {
            store.load(&mut |zone, byte, bytes| mappings[zone.index()].write(byte, bytes))
        })?;
        Ok(Self::assemble(path, allocator, writer, store, recovered))
    }

    fn assemble(path: &Path, allocator: Allocator, writer: Idle, store: LogStore, recovered: Recovered) -> Self {
        sys::fork::install();
        let cuts = CutState::recover(recovered.epoch, &recovered.catalog);
        let opened = Opened {
            epoch: recovered.epoch,
            live: cuts.live(),
            log_limit_bytes: recovered.log_bytes,
            replayed_records: recovered.replayed_records,
            dropped_tail_bytes: recovered.dropped_tail_bytes,
        };
        Self {
            path: path.to_path_buf(),
            heap_id: recovered.heap_id,
            generation: sys::fork::fork_generation(),
            allocator,
            threads: Threads::new(),
            cuts: Mutex::new(cuts),
            roots: Mutex::new(RootTable::recover(recovered.catalog.roots)),
            counters: Mutex::new(Counters::new(opened)),
            meter: store.meter(),
            on_panic: OnPanic::default(),
            types: None,
            preparing: Mutex::new(()),
            seeds: Seeds::new(recovered.heap_id, recovered.epoch),
            walked: Mutex::new(Walked::default()),
            writer: Some(writer.serve(store)),
        }
    }

    /// The same engine, with what `options` say of how it is used.
    #[must_use]
    pub fn with(mut self, options: &HeapOptions) -> Self {
        self.on_panic = options.on_panic;
        if options.verify {
            self.walked = Mutex::new(Walked::verified(&self.allocator));
        }
        self.types = options.trace_types.then(TypeNames::default);
        self
    }

    /// A panic is unwinding out of a section, which is not over yet.
    #[cold]
    pub fn note_panic(&self) {
        match self.on_panic {
            OnPanic::Accept => {}
            OnPanic::Refuse => self.threads.set_panicked(true),
            OnPanic::Abort => std::process::abort(),
        }
    }

    /// Something that must be done whole was not: no checkpoint may have it, unless it is forgiven.
    #[cold]
    pub fn note_half_done(&self) {
        if self.on_panic == OnPanic::Abort && std::thread::panicking() {
            std::process::abort();
        }
        self.threads.set_panicked(true);
    }

    /// What an empty collection of this heap holds in the place of an address: never zero, and odd, which no address of an object is.
    pub fn tag(&self) -> u64 {
        let [low, high] = [0, 8].map(|at| u64::from_le_bytes(self.heap_id[at..at + 8].try_into().expect("8 bytes")));
        (low ^ high.rotate_left(32)) | 1
    }

    /// Where the heap is stored.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What identifies the heap.
    pub fn heap_id(&self) -> [u8; 16] {
        self.heap_id
    }

    /// Refuses a forked child: its memory lacks the heap, and its process the writer thread.
    ///
    /// # Errors
    /// `Forked`.
    #[inline]
    pub fn check_not_forked(&self) -> Result<()> {
        if sys::fork::fork_generation() == self.generation { Ok(()) } else { Err(self.forked()) }
    }

    /// Stops the world, and calls `work` before it goes on.
    ///
    /// # Errors
    /// `InSection` if this thread is inside a section, `Forked`; what `work` returns.
    pub fn stopped<R>(&self, what: &str, work: impl FnOnce(&mut Stopped<'_>) -> Result<R>) -> Result<R> {
        self.check_not_forked()?;
        if self.threads.is_inside() {
            let what = format!("{what} called inside a section of the same thread, which it would wait for");
            return Err(Error::new(ErrorKind::InSection, what));
        }
        // One at a time, and no cut meanwhile.
        let _cuts = lock(&self.cuts);
        work(&mut self.threads.stop())
    }

    /// Makes a cut and hands it to the writer.
    ///
    /// # Errors
    /// `InSection` if this thread is inside a section, `Forked`, or what the tracker reports.
    pub fn checkpoint(&self) -> Result<Ticket> {
        self.check_not_forked()?;
        if self.threads.is_inside() {
            let what = "checkpoint called inside a section of the same thread, which it would wait for";
            return Err(Error::new(ErrorKind::InSection, what));
        }
        let mut cuts = lock(&self.cuts);
        cuts.begin()?;
        let ticket = self.cut_and_submit(&mut cuts);
        cuts.end();
        drop(cuts);
        self.allocator.punch_empty(PUNCH_FRAMES_MIN);
        self.allocator.collapse_filled();
        ticket
    }

    fn cut_and_submit(&self, cuts: &mut CutState) -> Result<Ticket> {
        let writer = self.writer();
        let (owed, buffer) = writer.prepare();
        if !canary(Canary::OwedForgotten) {
            cuts.owe(&owed, &self.allocator, &self.roots);
        }
        let (mut report, builder) = cuts.cut(&self.allocator, &self.threads, &self.roots, buffer)?;
        // With something owed even an empty record is written: it is what tells that the store works again.
        let nothing_to_write = builder.is_empty() && !cuts.owes;
        let record = builder.finish();
        if nothing_to_write {
            writer.recycle(record);
            report.epoch = cuts.epoch.0;
            let pending = cuts.last.clone().unwrap_or_else(|| already_durable(cuts.epoch));
            return Ok(Ticket::new(pending, report));
        }
        let epoch = Epoch(cuts.epoch.0 + 1);
        let pending = Arc::new(Pending::default());
        cuts.epoch = epoch;
        cuts.last = Some(pending.clone());
        cuts.owes = false;
        report.epoch = epoch.0;
        writer.submit(Job { epoch, record, pending: pending.clone() });
        lock(&self.counters).note(&report, cuts.live());
        Ok(Ticket::new(pending, report))
    }

    /// Everything that is counted.
    ///
    /// # Errors
    /// If the operating system does not tell how much memory is backed.
    pub fn stats(&self) -> Result<Stats> {
        self.stats_with(self.meter.stats())
    }

    /// Ends the heap: waits for what is on its way to the disk, and folds the log. Returns what was counted, this included.
    ///
    /// # Errors
    /// What the store reports.
    pub fn close(mut self) -> Result<Stats> {
        self.check_not_forked()?;
        let store = self.writer.take().and_then(Writer::close);
        let died = || Error::new(ErrorKind::Poisoned, format!("{}: the writer thread died", self.path.display()));
        let written = store.ok_or_else(died)?.close()?;
        self.stats_with(written)
    }

    /// Takes no lock that a cut holds: the caller may be inside a section.
    fn stats_with(&self, written: StoreStats) -> Result<Stats> {
        let memory = self.allocator.memory_bytes()?;
        let tracker = self.allocator.tracker().kind();
        let zones = self.allocator.seats().len();
        Ok(lock(&self.counters).stats(memory, written, tracker, zones, self.allocator.ladder_stats()))
    }

    fn writer(&self) -> &Writer {
        self.writer.as_ref().expect("only close takes the writer")
    }

    #[cold]
    fn forked(&self) -> Error {
        let what =
            format!("{} was opened before this process was forked; only the parent may use it", self.path.display());
        Error::new(ErrorKind::Forked, what)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.check_not_forked().is_err()
            && let Some(writer) = &mut self.writer
        {
            writer.forget();
        }
    }
}

fn already_durable(epoch: Epoch) -> Arc<Pending> {
    let pending = Pending::default();
    pending.resolve(Ok(epoch));
    Arc::new(pending)
}

#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod tests {
    use crate::Heap;
    use crate::sys::refuse::{Refusal, can_refuse, refusing};

    #[test]
    fn without_a_thread_to_write_nothing_is_created() {
        if !can_refuse() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("threadless.heap");
        let refused = refusing(&[Refusal::thread(libc::EAGAIN)], || Heap::create(&path).expect_err("no thread"));
        assert!(refused.to_string().contains("thread"), "{refused}");
        assert!(!path.exists());
        Heap::create(&path).unwrap();
    }
}
