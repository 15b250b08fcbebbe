//! [`LogStore`]: one heap's durable state: when to append, when to change segments, when to fold.
//!
//! ```text
//!            over log_bytes, other segment free: rotate              fold done: recycle
//!   active ─────────────────────────────────────────────> sealed ───────────────────────> free
//! ```
//! 1. At most one segment is sealed; a background thread "strewn-fold" folds it. Its segment is free once the superblock
//!    says so, and only then is it written again.
//! 2. An append that finds the active segment full waits until the other one is free. So the log takes at most twice `log_bytes` plus
//!    the record that exceeds it, in each segment; and which records share a segment, and with it every byte on disk, is a function of
//!    the records alone, not of how fast the fold was.
//! 3. A fold that failed is tried again by the append that has to wait for it, and by `close`. Its error is theirs.
//! 4. After a failed sync, wherever, nothing is accepted any more: every call returns `Poisoned`. An append that was on its way when a fold's sync failed still ends as its own
//!    sync says.
//! 5. Nothing is written before `load` has checked everything. Then, in this order: the heap's name (its creator may have been killed before that was
//!    durable), the superblock (newest copy first), and the end of the log; see [`Log::rewrite_end`].
//!
//! Must not: know what is in a record, or how an image is read.

use std::path::Path;
use std::sync::Arc;

use super::create::{build, check_options};
use super::failure::Failure;
use super::folded::Folded;
use super::folder::{Folder, Room, Shared};
use super::format::{COUNT_END, names};
use super::image::Sink;
use super::log::Log;
use super::record::Record;
use super::recover::{Recovered, Recovery};
use super::storage::{self, Place, Storage, must_open};
use super::superblock::Addressing;
use crate::base::sync::Ordering;
use crate::base::{Canary, Epoch, Error, ErrorKind, Result, canary};

/// What is decided when a heap is created.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The heap's identity; random, or fixed where files must come out the same.
    pub heap_id: [u8; 16],
    /// How objects get their addresses.
    pub addressing: Addressing,
    /// Bytes of a log segment before it is folded.
    pub log_bytes: u64,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Bytes that the record takes in the log.
    pub log_bytes: u64,
}

/// Bytes written and syncs done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// Bytes written to zone files.
    pub image_bytes: u64,
    /// Bytes written to catalogs.
    pub meta_bytes: u64,
    /// Bytes written to the superblock.
    pub superblock_bytes: u64,
    /// Files and directories synced.
    pub syncs: u64,
    /// Segments folded.
    pub folds: u64,
    /// Slots that might have changed, and were compared with the image.
    pub suspects: u64,
    /// Those of them that had not changed, and were not written.
    pub unchanged: u64,
}

/// Reads what a store has written, from any thread.
pub struct StoreMeter(Arc<Shared>);

impl StoreMeter {
    /// What was written since the store was opened.
    pub fn stats(&self) -> StoreStats {
        // Relaxed: statistics, see `Counters`.
        let counters = &self.0.counters;
        StoreStats {
            log_bytes: counters.log_bytes.load(Ordering::Relaxed),
            image_bytes: counters.image_bytes.load(Ordering::Relaxed),
            meta_bytes: counters.meta_bytes.load(Ordering::Relaxed),
            superblock_bytes: counters.superblock_bytes.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            folds: counters.folds.load(Ordering::Relaxed),
            suspects: counters.suspects.load(Ordering::Relaxed),
            unchanged: counters.unchanged.load(Ordering::Relaxed),
        }
    }
}

/// A heap's durable state, open and locked.
pub struct LogStore {
    shared: Arc<Shared>,
    log: Log,
    folded: Folded,
    /// Until it is loaded.
    recovery: Option<Box<Recovery>>,
    folder: Folder<Shared>,
}

impl LogStore {
    /// Creates a heap at `path`: whole and durable, or not at all. If it fails after the heap has its name, that is taken back; a power cut right then may still leave a whole, empty
    /// heap there.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidArgument`, and whatever the file system answers.
    pub fn create(place: &dyn Place, path: &Path, options: &StoreOptions) -> Result<Self> {
        check_options(options)?;
        let storage = storage::create(place, path, &|storage| build(storage, options))?;
        Self::created(storage.clone()).map_err(|e| storage.withdraw(e))
    }

    /// Opens the heap at `path`. [`load`](Self::load) must follow. Nothing is written yet.
    ///
    /// # Errors
    /// `NotFound`, `NotAHeap`, `UnsupportedVersion`, `Corrupt`, `Locked`, and whatever the file system answers.
    pub fn open(place: &dyn Place, path: &Path) -> Result<(Self, Recovered)> {
        Self::open_in(place.open(path)?)
    }

    fn created(storage: Arc<dyn Storage>) -> Result<Self> {
        let (mut store, _) = Self::open_in(storage)?;
        // Built and synced a moment ago by this process: nothing to load, nothing to make durable again.
        store.recovery = None;
        store.log.prepare(&*store.shared.storage)?;
        Ok(store)
    }

    fn open_in(storage: Arc<dyn Storage>) -> Result<(Self, Recovered)> {
        let recovery = Recovery::read(&*storage)?;
        let recovered = recovery.recovered();
        let log = Log::open(&*storage, recovered.heap_id, recovery.active().chain)?;
        let background = storage.folds_in_background();
        let shared = Arc::new(Shared::new(storage, recovery.superblock));
        Ok((
            Self {
                folder: Folder::new(shared.clone(), background),
                shared,
                log,
                folded: Folded::recover(&recovery.segments)?,
                recovery: Some(Box::new(recovery)),
            },
            recovered,
        ))
    }

    /// Delivers the contents of every frame with an allocated slot, and of every page of allocated runs (pages of zeros
    /// may be left out), checked, zones and bytes ascending. To be called once, after `open`, before the first append.
    /// If it fails, nothing on disk was changed, unless the failure is in making the end of the log durable.
    pub fn load(&mut self, sink: Sink<'_>) -> Result<()> {
        let Some(recovery) = self.recovery.take() else { return Err(self.misuse("is loaded already")) };
        let loaded = recovery.load(&*self.shared.storage, sink);
        let loaded = loaded.and_then(|()| self.secure(&recovery).map_err(|failure| self.shared.folding.note(failure)));
        if let Err(error) = loaded {
            self.recovery = Some(recovery);
            return Err(error);
        }
        if let [sealed, _] = &recovery.segments[..] {
            self.shared.folding.seal(sealed.chain);
            self.folder.start();
        }
        Ok(())
    }

    /// Reads and checks everything that [`load`](Self::load) would deliver, and writes nothing.
    pub fn read(&self, sink: Sink<'_>) -> Result<()> {
        match &self.recovery {
            Some(recovery) => recovery.load(&*self.shared.storage, sink),
            None => Err(self.misuse("is loaded already")),
        }
    }

    /// Makes durable what was read: a process before this one may have died after a failed sync, see `failure.rs`.
    fn secure(&mut self, recovery: &Recovery) -> Result<(), Failure> {
        self.log.prepare(&*self.shared.storage)?;
        self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.storage.sync_parent().map_err(Failure::Poison)?;
        let file = must_open(&*self.shared.storage, names::SUPERBLOCK)?;
        recovery.superblock.write(&*file, recovery.superblock_copy, &self.shared.counters)?;
        let clean = recovery.segments.len() == 1 && !self.log.has_records();
        if clean || canary(Canary::EndNotRewritten) {
            Ok(())
        } else {
            self.log.rewrite_end(recovery.active(), &self.shared.counters)
        }
    }

    /// Makes `record` durable as `epoch`, which must be later than the last one. Returns once it is. Of its suspects, only what differs from the image is
    /// written; they may be sifted even if that fails.
    ///
    /// # Errors
    /// `StorageFull` and the like: nothing was committed; the same or another record may be appended again.
    /// `Poisoned`: a sync failed. Whether the record of the append that hit it is durable shows when the heap is opened
    /// again.
    pub fn append(&mut self, epoch: Epoch, record: &mut Record) -> Result<Appended> {
        if self.recovery.is_some() {
            return Err(self.misuse("is not loaded yet"));
        }
        let last = self.log.chain().epoch;
        if epoch <= last {
            return Err(self.misuse(&format!("holds epoch {last}; epoch {epoch} cannot follow")));
        }
        if epoch.0 >= COUNT_END {
            return Err(self.misuse(&format!("has no epoch {epoch}: it ends before epoch {COUNT_END}")));
        }
        debug_assert!(record.items().all(|item| item.is_ok()), "the builder makes sound records");
        self.folder.check_poison()?;
        self.make_room()?;
        if record.has_suspects() {
            let sifted = self.folded.sift(&*self.shared.storage, record);
            self.shared.counters.note_sifted(sifted);
        }
        let appended = self.log.append(epoch, record, &self.shared.counters);
        let log_bytes = appended.map_err(|failure| self.shared.folding.note(failure))?;
        self.folded.note(record);
        Ok(Appended { log_bytes })
    }

    /// What was written since the store was opened.
    pub fn stats(&self) -> StoreStats {
        self.meter().stats()
    }

    /// What tells [`stats`](Self::stats) also while the store is busy elsewhere.
    pub fn meter(&self) -> StoreMeter {
        StoreMeter(self.shared.clone())
    }

    /// Folds everything into the image, so that the log is empty, and closes the store. If it fails, what was
    /// acknowledged is durable all the same. Returns what was written, this included.
    pub fn close(mut self) -> Result<StoreStats> {
        if self.recovery.is_some() {
            return Ok(self.stats());
        }
        self.folder.finish()?;
        if self.log.has_records() {
            self.rotate()?;
            self.folder.finish()?;
        }
        self.log.trim();
        Ok(self.stats())
    }

    /// Changes segments if the active one is full and the other free; waits if there is no other way.
    fn make_room(&mut self) -> Result<()> {
        if self.folder.make_room(self.log.chain().end)? == Room::Other {
            self.rotate()?;
            self.folder.start();
        }
        Ok(())
    }

    /// Seals the active segment and goes on in the other one, which is free.
    fn rotate(&mut self) -> Result<()> {
        if self.log.chain().generation + 1 >= COUNT_END {
            return Err(self.misuse(&format!("has had {} log segments, and can have no more", COUNT_END - 1)));
        }
        let sealed = self.log.start_segment(&self.shared.counters);
        self.shared.folding.seal(sealed.map_err(|failure| self.shared.folding.note(failure))?);
        self.folded.rotate();
        Ok(())
    }

    fn misuse(&self, what: &str) -> Error {
        Error::new(ErrorKind::InvalidArgument, format!("{}: the store {what}", self.shared.storage.path().display()))
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("path", &self.shared.storage.path()).field("log", &self.log.chain()).finish()
    }
}
