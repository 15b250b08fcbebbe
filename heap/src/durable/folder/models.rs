//! Appending beside a fold: what is folded is not written, and whoever waits for a fold is told how it ended.

use super::*;
use crate::base::Epoch;
use crate::base::models::{DEADLOCK, Model, size};
use crate::base::sync::Guarded;
use crate::durable::superblock::Addressing;
use std::sync::atomic::{AtomicBool as Flag, AtomicUsize as Count, Ordering::Relaxed};

/// How the first fold ends; the others succeed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Succeeds,
    Fails,
    Poisons,
}

/// Two segments and an image. What tells right from wrong is of std: no part of the protocol.
struct Disk {
    folding: Folding,
    segments: [Guarded; 2],
    in_use: [Flag; 2],
    folds: Count,
    first: First,
    poisoned: Flag,
    /// A fold was begun after that.
    went_on: Flag,
}

impl Disk {
    fn new(first: First) -> Arc<Self> {
        let superblock = Superblock {
            heap_id: [0; 16],
            addressing: Addressing::Lanes,
            log_bytes: 1,
            generation: 0,
            image_epoch: Epoch(0),
            log_generation: 0,
            meta_len: 0,
            meta_crc: 0,
        };
        let folding = Folding::new(superblock);
        let (segments, in_use, poisoned, went_on) = Default::default();
        Arc::new(Self { folding, segments, in_use, folds: Count::new(0), first, poisoned, went_on })
    }

    /// Reads or writes a segment, which nobody else may do meanwhile.
    fn use_segment(&self, generation: u64) {
        let segment = (generation % 2) as usize;
        assert!(!self.in_use[segment].swap(true, Relaxed), "a segment was written while it was folded");
        self.segments[segment].change();
        thread::yield_now();
        self.in_use[segment].store(false, Relaxed);
    }
}

impl Fold for Disk {
    fn folding(&self) -> &Folding {
        &self.folding
    }

    fn fold(&self, superblock: &Superblock, sealed: ChainEnd) -> Result<Superblock, Failure> {
        self.went_on.fetch_or(self.poisoned.load(Relaxed), Relaxed);
        assert!(superblock.log_generation == sealed.generation, "a segment was folded twice");
        self.use_segment(sealed.generation);
        match (self.folds.fetch_add(1, Relaxed), self.first) {
            (0, First::Fails) => return Err(Failure::Retry(Error::new(ErrorKind::StorageFull, "the first fold"))),
            (0, First::Poisons) => {
                self.poisoned.store(true, Relaxed);
                return Err(Failure::Poison(Error::new(ErrorKind::Io, "the first fold")));
            }
            _ => {}
        }
        let (generation, log_generation) = (superblock.generation + 1, sealed.generation + 1);
        Ok(Superblock { generation, log_generation, image_epoch: sealed.epoch, ..*superblock })
    }

    fn path(&self) -> &Path {
        Path::new("model")
    }
}

/// What a store does around its folder.
struct Appender {
    disk: Arc<Disk>,
    folder: Folder<Disk>,
    active: ChainEnd,
}

impl Appender {
    fn new(first: First) -> Self {
        let disk = Disk::new(first);
        let active = ChainEnd { generation: 0, end: 0, epoch: Epoch(0), crc: 0 };
        Self { folder: Folder::new(disk.clone(), true), disk, active }
    }

    fn append(&mut self) -> Result<()> {
        self.folder.check_poison()?;
        if self.folder.make_room(self.active.end)? == Room::Other {
            let sealed = self.active;
            self.active = ChainEnd { generation: sealed.generation + 1, end: 0, ..sealed };
            self.disk.use_segment(self.active.generation);
            self.disk.folding.seal(sealed);
            self.folder.start();
        }
        self.disk.use_segment(self.active.generation);
        self.active.end += 1;
        self.active.epoch = Epoch(self.active.epoch.0 + 1);
        Ok(())
    }
}

/// Each record fills a segment. All but the last one are folded, in their order.
fn appends(first: First, records: u64) {
    let mut appender = Appender::new(first);
    (0..records).for_each(|_| appender.append().unwrap());
    let finished = appender.folder.finish();
    assert!(finished.is_ok(), "{finished:?}");
    let state = appender.disk.folding.wait();
    assert!(state.sealed.is_none() && state.superblock.log_generation == records - 1, "not folded");
}

#[test]
fn a_segment_is_written_again_only_after_its_fold() {
    const WRITTEN: &str = "a segment was written while it was folded";
    Model::new("folder", || appends(First::Succeeds, size(3, 8) as u64))
        .holds()
        .rejects(Mistake::FoldFreesEarly, WRITTEN)
        .rejects(Mistake::FoldEndsSilently, DEADLOCK)
        .rejects(Mistake::FoldRunsUnseen, WRITTEN);
    Model::new("folder, a fold that fails", || appends(First::Fails, size(3, 8) as u64))
        .holds()
        .rejects(Mistake::FoldEndsSilently, DEADLOCK);
}

/// Once the fold's sync has failed nothing is folded, and the appender is told at the latest when it needs the other segment.
fn poisoned(records: u64) {
    let mut appender = Appender::new(First::Poisons);
    let refused = (0..records).filter_map(|_| appender.append().err()).all(|e| e.kind() == ErrorKind::Poisoned);
    let finished = appender.folder.finish();
    let told = refused && finished.is_err_and(|e| e.kind() == ErrorKind::Poisoned);
    assert!(told && !appender.disk.went_on.load(Relaxed), "went on after a failed sync");
}

#[test]
fn a_failed_sync_ends_all_folds() {
    Model::new("folder, a failed sync", || poisoned(size(3, 8) as u64))
        .holds()
        .rejects(Mistake::FoldIgnoresPoison, "after a failed sync");
}

/// What a panic does to a fold: its guard is dropped without a result. The appender waits for it, and is told.
fn panicking() {
    let mut appender = Appender::new(First::Succeeds);
    appender.append().unwrap();
    appender.disk.folding.seal(appender.active);
    lock(&appender.disk.folding.state).running = true;
    let disk = appender.disk.clone();
    let thread = thread::spawn(move || drop(FoldGuard { folding: &disk.folding, result: None }));
    assert!(appender.append().is_err_and(|e| e.kind() == ErrorKind::Poisoned));
    thread.join().unwrap();
}

#[test]
fn whoever_waits_for_a_fold_that_panics_is_told() {
    Model::new("folder, a panic", panicking).holds().rejects(Mistake::FoldPanicsSilently, DEADLOCK);
}
