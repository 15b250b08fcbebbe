//! [`HeapOptions`]: how a heap is created and opened.

use crate::arena::Writes;
use crate::base::{Error, ErrorKind, Result};
use crate::durable::{Addressing, LogStore, Place, StoreOptions, default_place};
use crate::engine::{Engine, OnPanic};
use crate::heap::Heap;
use crate::ladder::{Mapping, PolicyKind};
use crate::sys;
use crate::track::TrackerKind;
use std::path::Path;
use std::str::FromStr;

const LOG_BYTES_DEFAULT: u64 = 64 << 20;
const LOG_BYTES_MIN: u64 = 4096;
/// The second half of the identity of a heap that was created from a seed.
pub const SEEDED: [u8; 8] = *b"\0seeded\0";

/// How a heap is created and opened. `Heap::options()` gives the defaults.
#[derive(Clone, Debug)]
pub struct HeapOptions {
    tracker: Option<TrackerKind>,
    mapping: Option<Mapping>,
    policy: Option<PolicyKind>,
    writes: Option<Writes>,
    log_bytes: u64,
    seed: Option<u64>,
    pub(crate) on_panic: OnPanic,
    pub(crate) verify: bool,
    pub(crate) trace_types: bool,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self {
            tracker: None,
            mapping: None,
            policy: None,
            writes: None,
            log_bytes: LOG_BYTES_DEFAULT,
            seed: None,
            on_panic: OnPanic::default(),
            verify: false,
            trace_types: false,
        }
    }
}

impl HeapOptions {
    /// How writes are caught. Default: what the environment variable `STREWN_TRACKER` says (`async`, `signal` or `page`), else the best that
    /// the kernel offers (see [`probe`](crate::probe)). `Async` and `Signal` open each other's heaps; `Page` is chosen at creation,
    /// because it addresses objects densely.
    #[must_use]
    pub fn tracker(mut self, tracker: TrackerKind) -> Self {
        self.tracker = Some(tracker);
        self
    }

    /// How lanes are mapped. Default: what the environment variable `STREWN_MAPPING` says (`auto`, `pages` or `huge`), else `Auto`. Where the
    /// kernel or a limit refuses huge pages, lanes are mapped by pages whatever is asked for, and so are those of objects over 256 bytes;
    /// [`Stats::ladder`](crate::Stats::ladder) shows it. A huge page gives its 2 MiB back when no object is left in it.
    #[must_use]
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        self.mapping = Some(mapping);
        self
    }

    /// How the granularity of tracking is chosen. Default: what the environment variable `STREWN_POLICY` says (`adaptive`, `fine`, `coarse`,
    /// `active-rnd`, `active-cks` or `genetic`), else `Adaptive`. It costs or saves time; what is durable does not depend on it. Heaps with the `page`
    /// tracker have no ladder.
    #[must_use]
    pub fn policy(mut self, policy: PolicyKind) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How the typed API catches writes to objects whose type does not say how. Default: what the environment variable `STREWN_WRITES` says (`hardware` or
    /// `barrier`), else `Barrier`, which costs less unless nearly everything is written between two checkpoints. For a heap whose objects are written by hand
    /// ([`Section::alloc`](crate::Section::alloc)), which hardware always catches, say `Hardware`: then objects that are allocated together lie where that is cheapest. Chosen anew each time
    /// that a heap is opened. Which objects are durable does not depend on it; where new ones lie does.
    #[must_use]
    pub fn writes(mut self, writes: Writes) -> Self {
        self.writes = Some(writes);
        self
    }

    /// How many bytes of log are collected before they are folded into the image, at least 4096. Default: 64 MiB. The log takes up to twice as
    /// much, plus a checkpoint in each of its two segments. Fixed at creation.
    #[must_use]
    pub fn log_bytes(mut self, bytes: u64) -> Self {
        self.log_bytes = bytes;
        self
    }

    /// Derives the heap's identity, and with it its place in the address space, from `seed` instead of from random numbers: the same operations
    /// then write the same bytes to disk on every run, given the same tracker, mapping, policy, way to catch writes and kernel features, and if one thread at a time uses the heap. For tests. Two heaps of one seed are likely to want the same addresses.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What happens when a panic unwinds out of a section. Default: `Refuse`.
    #[must_use]
    pub fn on_panic(mut self, on_panic: OnPanic) -> Self {
        self.on_panic = on_panic;
        self
    }

    /// Whether each root is walked when it is first found: everything that can be reached from it is checked before a reference to it is made, and a pointer that leads to no
    /// object of its size, or bytes that no value of their type has, are refused; so are an object that another root owns already, and a shared one with more owners than it counts. Takes time proportional to what is reached, and some
    /// 24 bytes of memory for each object that there was when the heap was opened. Default: false.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Whether the types of what typed values allocate are noted while the heap is open, for [`Heap::leaks`]. Costs a lock and about 50 bytes of memory an object. Default:
    /// false.
    #[must_use]
    pub fn trace_types(mut self, trace_types: bool) -> Self {
        self.trace_types = trace_types;
        self
    }

    /// Creates a heap: a directory at `path` (by custom `NAME.heap`), readable by its owner alone. Blocks on the disk.
    ///
    /// # Errors
    /// `AlreadyExists` if there is anything at `path`; `InvalidArgument` for a log below 4096 bytes; `Unsupported` if the kernel lacks what the
    /// tracker needs; `PermissionDenied`, `StorageFull`, `Io`.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Heap> {
        self.create_in(default_place(), path.as_ref())
    }

    pub(crate) fn create_in(&self, place: &dyn Place, path: &Path) -> Result<Heap> {
        if self.log_bytes < LOG_BYTES_MIN {
            let what = format!("log_bytes is {}, below the minimum of {LOG_BYTES_MIN}", self.log_bytes);
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let kind = self.wanted_tracker()?.unwrap_or_else(|| sys::probe::probe().default_tracker());
        let heap_id = self.heap_id()?;
        let store = StoreOptions { heap_id, addressing: addressing_of(kind), log_bytes: self.log_bytes };
        Ok(Heap::new(
            Engine::create(place, path, &store, kind, self.wanted_ladder()?, self.wanted_writes()?)?.with(self),
        ))
    }

    /// Opens the heap at `path` as of its last durable checkpoint. Blocks while it reads the image and the log.
    ///
    /// # Errors
    /// `NotFound`, `NotAHeap`, `UnsupportedVersion`, `Corrupt`, `Locked` (someone has it open), `AddressInUse` (something is mapped where its objects must lie),
    /// `InvalidArgument` (the tracker asked for cannot serve it), `PermissionDenied`, `Io`. The files hold what they held.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Heap> {
        self.open_in(default_place(), path.as_ref())
    }

    pub(crate) fn open_in(&self, place: &dyn Place, path: &Path) -> Result<Heap> {
        let wanted = self.wanted_tracker()?;
        let (ladder, writes) = (self.wanted_ladder()?, self.wanted_writes()?);
        let (store, recovered) = LogStore::open(place, path)?;
        let kind = match (recovered.addressing, wanted) {
            (Addressing::Dense, None) => TrackerKind::Page,
            (Addressing::Lanes, None) => sys::probe::probe().default_tracker(),
            (how, Some(kind)) if how == addressing_of(kind) => kind,
            (how, Some(kind)) => {
                let what = format!(
                    "{}: the `{kind}` tracker cannot serve a heap that was created for {how:?}",
                    path.display()
                );
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            }
        };
        let engine = Engine::recover(path, kind, ladder, writes, store, recovered);
        Ok(Heap::new(engine.map_err(|e| e.context(path.display()))?.with(self)))
    }

    /// Opens the heap at `path`, or creates it if there is nothing.
    ///
    /// # Errors
    /// As for [`HeapOptions::open`] and [`HeapOptions::create`].
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Heap> {
        let path = path.as_ref();
        match self.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => self.create(path),
            other => other,
        }
    }

    fn wanted_tracker(&self) -> Result<Option<TrackerKind>> {
        chosen(self.tracker, "STREWN_TRACKER")
    }

    fn wanted_ladder(&self) -> Result<(Mapping, PolicyKind)> {
        let mapping = chosen(self.mapping, "STREWN_MAPPING")?.unwrap_or_default();
        Ok((mapping, chosen(self.policy, "STREWN_POLICY")?.unwrap_or_default()))
    }

    fn wanted_writes(&self) -> Result<Writes> {
        match chosen(self.writes, "STREWN_WRITES")? {
            None | Some(Writes::OfHeap) => Ok(Writes::Barrier),
            Some(writes) => Ok(writes),
        }
    }

    fn heap_id(&self) -> Result<[u8; 16]> {
        let mut id = [0; 16];
        match self.seed {
            Some(seed) => {
                id[..8].copy_from_slice(&seed.to_le_bytes());
                id[8..].copy_from_slice(&SEEDED);
            }
            None => getrandom::fill(&mut id)
                .map_err(|e| Error::new(ErrorKind::Io, format!("no random bytes for the heap's identity: {e}")))?,
        }
        Ok(id)
    }
}

fn addressing_of(kind: TrackerKind) -> Addressing {
    match kind {
        TrackerKind::Async | TrackerKind::Signal => Addressing::Lanes,
        TrackerKind::Page => Addressing::Dense,
    }
}

/// What was asked for by the program, else by the environment variable `name`.
fn chosen<T: FromStr<Err = Error>>(asked: Option<T>, name: &str) -> Result<Option<T>> {
    match (asked, std::env::var(name)) {
        (Some(kind), _) => Ok(Some(kind)),
        (None, Ok(value)) if !value.is_empty() => value.parse().map(Some),
        (None, _) => Ok(None),
    }
}
