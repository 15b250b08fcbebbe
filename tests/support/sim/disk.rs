//! [`SimDisk`]: a [`Volume`] that heaps can lie on, a journal of what was done to it, and faults.
//!
//! 1. An operation is in the journal when it was done, in the order in which it was; one that failed is there as what it left.
//! 2. A fault is for one operation, by its number since the disk was made. An operation is anything that a system call may refuse, reads as well.
//!
//! Must not: decide what a crash leaves (`volume.rs`).

use super::volume::{Op, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strewn::testing::{NewStorage, PAGE, Place, Storage, StorageFile};
use strewn::{Error, ErrorKind, Result};

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// The operation with this number fails with this error. A write gets half way; a sync lets some arrive.
    pub op: Option<(u64, i32)>,
    /// All files together may not grow beyond this many bytes.
    pub space: Option<u64>,
}

/// See the module.
pub struct SimDisk {
    state: Mutex<State>,
    /// Whether folds run in a thread of their own, in whatever order the system has it.
    background: bool,
}

struct State {
    volume: Volume,
    journal: Vec<Op>,
    fault: Fault,
    ops: u64,
    /// Where in the journal the fault was met.
    hit: Option<usize>,
    locked: BTreeSet<usize>,
}

impl SimDisk {
    /// A disk with nothing on it.
    pub fn new() -> Arc<Self> {
        Self::of(Volume::default())
    }

    /// A disk with nothing on it, where heaps fold in the background.
    pub fn with_background_folds() -> Arc<Self> {
        Arc::new(Self { background: true, ..Self::holding(Volume::default()) })
    }

    /// A disk that holds this.
    pub fn of(volume: Volume) -> Arc<Self> {
        Arc::new(Self::holding(volume))
    }

    fn holding(volume: Volume) -> Self {
        let (journal, fault, locked) = (Vec::new(), Fault::default(), BTreeSet::new());
        let state = State { volume, journal, fault, ops: 0, hit: None, locked };
        Self { state: Mutex::new(state), background: false }
    }

    /// As a [`Place`] for heaps.
    pub fn place(self: &Arc<Self>) -> SimPlace {
        SimPlace(self.clone())
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// How many operations were in the journal when the one that was to fail was reached, if it was.
    pub fn fault_hit_at(&self) -> Option<usize> {
        self.state().hit
    }

    /// How many operations there were, and how many of them are in the journal.
    pub fn counts(&self) -> (u64, usize) {
        let state = self.state();
        (state.ops, state.journal.len())
    }

    /// Everything done so far.
    pub fn journal(&self) -> Vec<Op> {
        self.state().journal.clone()
    }

    /// What it holds: after a kill, what the next process finds.
    pub fn volume(&self) -> Volume {
        self.state().volume.clone()
    }

    /// Whether a file has this name in some directory.
    pub fn is_called(&self, file: usize, name: &str) -> bool {
        let state = self.state();
        (0..state.volume.dirs_made()).any(|dir| state.volume.file(dir, name) == Some(file))
    }

    /// The files of a directory, as programs read them.
    pub fn files_in(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        self.state().volume.files_in(dir)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation, and fails if it is to.
    fn step(&mut self, what: &str, path: &Path) -> Result<()> {
        let op = self.ops;
        self.ops += 1;
        match self.fault.op {
            Some((at, errno)) if at == op => {
                self.hit = Some(self.journal.len());
                Err(failed(what, path, errno))
            }
            _ => Ok(()),
        }
    }

    fn apply(&mut self, op: Op) {
        self.volume.apply(&op);
        self.journal.push(op);
    }

    /// How far a file may grow if it is to have `len` bytes.
    fn room(&self, file: usize, len: u64) -> u64 {
        let old = self.volume.bytes(file).len() as u64;
        let free = self.fault.space.map_or(u64::MAX, |space| space.saturating_sub(self.volume.used()));
        len.min(old.saturating_add(free)).max(len.min(old))
    }
}

fn failed(what: &str, path: &Path, errno: i32) -> Error {
    Error::os(format!("{what} {}", path.display()), io::Error::from_raw_os_error(errno))
}

/// What a directory is called that is to be called `path`.
fn building(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// The disk as a place for heaps.
pub struct SimPlace(Arc<SimDisk>);

/// A directory, locked until dropped.
struct SimDir {
    disk: Arc<SimDisk>,
    dir: usize,
    path: PathBuf,
    /// For one being built: what it is to be called.
    target: PathBuf,
    holds: bool,
}

struct SimFile {
    disk: Arc<SimDisk>,
    file: usize,
    path: PathBuf,
}

impl SimPlace {
    fn lock(&self, dir: usize, path: &Path, target: &Path) -> Result<SimDir> {
        if !self.0.state().locked.insert(dir) {
            return Err(Error::new(ErrorKind::Locked, format!("{}: in use by this process", path.display())));
        }
        Ok(SimDir { disk: self.0.clone(), dir, path: path.to_owned(), target: target.to_owned(), holds: true })
    }
}

impl Place for SimPlace {
    fn start(&self, path: &Path) -> Result<Box<dyn NewStorage>> {
        let building = building(path);
        let mut state = self.0.state();
        state.step("mkdir", &building)?;
        if state.volume.dir(path).is_some() {
            return Err(failed("create", path, libc::EEXIST));
        }
        if let Some(left) = state.volume.dir(&building) {
            state.apply(Op::RemoveDir(left));
        }
        state.apply(Op::MakeDir(building.clone()));
        let dir = state.volume.dirs_made() - 1;
        drop(state);
        Ok(Box::new(self.lock(dir, &building, path)?))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Storage>> {
        let mut state = self.0.state();
        state.step("open", path)?;
        let dir = state.volume.dir(path).ok_or_else(|| failed("open", path, libc::ENOENT))?;
        drop(state);
        Ok(Arc::new(self.lock(dir, path, path)?))
    }
}

impl NewStorage for SimDir {
    fn rename(mut self: Box<Self>) -> Result<Arc<dyn Storage>> {
        let (disk, dir, target) = (self.disk.clone(), self.dir, self.target.clone());
        let mut state = disk.state();
        state.step("rename", &self.path)?;
        state.apply(Op::Rename(dir, target.clone()));
        self.holds = false;
        drop(state);
        Ok(Arc::new(SimDir { disk, dir, path: target.clone(), target, holds: true }))
    }
}

impl Drop for SimDir {
    fn drop(&mut self) {
        if self.holds {
            self.disk.state().locked.remove(&self.dir);
        }
    }
}

impl SimDir {
    fn file(&self, file: usize, name: &str) -> Arc<dyn StorageFile> {
        Arc::new(SimFile { disk: self.disk.clone(), file, path: self.path.join(name) })
    }
}

impl Storage for SimDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
        let mut state = self.disk.state();
        state.step("open", &self.path.join(name))?;
        Ok(state.volume.file(self.dir, name).map(|file| self.file(file, name)))
    }

    fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let mut state = self.disk.state();
        state.step("create", &self.path.join(name))?;
        let file = state.volume.file(self.dir, name).unwrap_or_else(|| {
            state.apply(Op::Create(self.dir, name.to_owned()));
            state.volume.files_made() - 1
        });
        Ok(self.file(file, name))
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.step("fsync", &self.path)?;
        state.apply(Op::SyncDir(self.dir));
        Ok(())
    }

    fn sync_parent(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.step("fsync the parent of", &self.path)?;
        state.apply(Op::SyncParent);
        Ok(())
    }

    fn withdraw(&self, error: Error) -> Error {
        let mut state = self.disk.state();
        match state.step("rename", &self.path) {
            Ok(()) => {
                state.apply(Op::Rename(self.dir, building(&self.path)));
                error
            }
            Err(e) => error.context(e),
        }
    }

    fn folds_in_background(&self) -> bool {
        self.disk.background
    }
}

impl SimFile {
    fn write(&self, what: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.disk.state();
        let stepped = state.step(what, &self.path);
        let end = offset + bytes.len() as u64;
        // A write that fails may have got anywhere; without a fault, as far as there is room.
        let got = if stepped.is_ok() { state.room(self.file, end) } else { offset + bytes.len() as u64 / 2 };
        let part = &bytes[..got.saturating_sub(offset) as usize];
        if !part.is_empty() {
            state.apply(Op::Write(self.file, offset as usize, part.into()));
        }
        stepped?;
        if got < end { Err(failed(what, &self.path, libc::ENOSPC)) } else { Ok(()) }
    }

    fn resize(&self, what: &str, len: impl FnOnce(u64) -> u64) -> Result<()> {
        let mut state = self.disk.state();
        state.step(what, &self.path)?;
        let len = len(state.volume.bytes(self.file).len() as u64);
        if state.room(self.file, len) < len {
            return Err(failed(what, &self.path, libc::ENOSPC));
        }
        state.apply(Op::SetLen(self.file, len as usize));
        Ok(())
    }
}

impl StorageFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.disk.state();
        state.step("read", &self.path)?;
        let bytes = state.volume.bytes(self.file);
        let bytes = bytes.get(offset as usize..).unwrap_or_default();
        let len = buf.len().min(bytes.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write("write", offset, bytes)
    }

    fn len(&self) -> Result<u64> {
        let mut state = self.disk.state();
        state.step("fstat", &self.path)?;
        Ok(state.volume.bytes(self.file).len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.resize("ftruncate", |_| len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.resize("fallocate", |old| old.max(offset + len))
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let old = self.len()?;
        let zeros = vec![0; old.min(offset + len).saturating_sub(offset) as usize];
        self.write("punch", offset, &zeros)
    }

    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        let mut state = self.disk.state();
        state.step("lseek", &self.path)?;
        // As file systems do: a page of zeros is a hole.
        let bytes = state.volume.bytes(self.file);
        let page = |page: u64| bytes.get(page as usize * PAGE..).map(|rest| &rest[..rest.len().min(PAGE)]);
        let has_data = |at: &u64| page(*at).is_some_and(|page| page.iter().any(|byte| *byte != 0));
        let (first, last) = (range.start / PAGE as u64, range.end.div_ceil(PAGE as u64));
        let Some(start) = (first..last).find(has_data) else { return Ok(range.end..range.end) };
        let end = (start..last).find(|page| !has_data(page)).unwrap_or(last);
        Ok((start * PAGE as u64).max(range.start)..(end * PAGE as u64).min(range.end))
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.state();
        let seed = state.ops;
        let stepped = state.step("fdatasync", &self.path);
        state.apply(if stepped.is_ok() { Op::Sync(self.file) } else { Op::FailedSync(self.file, seed) });
        stepped
    }
}
