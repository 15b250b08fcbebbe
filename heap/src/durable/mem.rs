//! The in-memory twin of a disk: what Miri and the twin build run on, and what crash tests cut the power of.
//!
//! Each file has the contents that reads see (the page cache) and, when `tracked`, what the platter holds, and the list
//! of 512-byte sectors and lengths on their way to it. A power cut lets any subset of that list arrive.
//!
//! 1. Without a fault nothing differs from a file system: writes are seen at once, syncs make them durable.
//! 2. After the fatal operation every operation fails, so that nothing after the "crash" has an effect.
//! 3. A failing sync drops what was pending from the list: the page cache shows it, the platter may not have it, and a
//!    later sync does not write it again. This is what Linux does.
//!
//! Must not: be slow where no crash is simulated; tracking is off then.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{Storage, StorageFile};
use crate::base::{Error, ErrorKind, Result};

const SECTOR: usize = 512;

/// The disks of this process, by path, so that a heap can be reopened. Std's lock, because statics need a const one.
#[cfg(any(miri, strewn_twin))]
static DISKS: Mutex<BTreeMap<PathBuf, Arc<MemDisk>>> = Mutex::new(BTreeMap::new());

/// Creates the heap at `path` in this process's memory.
#[cfg(any(miri, strewn_twin))]
pub fn create(path: &Path, build: &dyn Fn(&dyn Storage) -> Result<()>) -> Result<Arc<dyn Storage>> {
    let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    if disks.contains_key(path) {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("{}: exists already", path.display())));
    }
    let disk = MemDisk::new(path, false);
    let storage = disk.lock()?;
    build(&*storage)?;
    disks.insert(path.to_owned(), disk);
    Ok(storage)
}

/// Opens the heap at `path` in this process's memory.
#[cfg(any(miri, strewn_twin))]
pub fn open(path: &Path) -> Result<Arc<dyn Storage>> {
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    match disks.get(path) {
        Some(disk) => disk.lock().map(|storage| storage as Arc<dyn Storage>),
        None => Err(Error::new(ErrorKind::NotFound, format!("{}: no such heap", path.display()))),
    }
}

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power fails at the operation (write, length, punch, sync, ...) with this number.
    pub fatal_op: Option<u64>,
    /// The sync with this number fails.
    pub failing_sync: Option<u64>,
    /// All files together may not grow beyond this many bytes.
    pub space: Option<u64>,
    /// Syncs report success and do nothing: the canary that crash tests must catch.
    pub lying_syncs: bool,
}

/// A directory of files in memory.
pub struct MemDisk {
    path: PathBuf,
    tracked: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Contents>,
    faults: Faults,
    ops: u64,
    syncs: u64,
    dead: bool,
    locked: bool,
}

#[derive(Clone, Default)]
struct Contents {
    cached: Vec<u8>,
    platter: Vec<u8>,
    pending: Vec<Pending>,
    /// Whether the directory entry is durable.
    linked: bool,
}

#[derive(Clone)]
enum Pending {
    Sector(usize, Box<[u8; SECTOR]>),
    Len(usize),
}

/// A few random bits (splitmix64).
pub struct Coins(pub u64);

impl Coins {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

impl Contents {
    /// Lets a random subset of what is pending arrive.
    fn settle(&mut self, coins: &mut Coins) {
        let odds = [0, 32, 128, 224, 256][coins.below(5) as usize];
        for pending in std::mem::take(&mut self.pending) {
            if coins.below(256) < odds {
                self.arrive(&pending);
            }
        }
    }

    fn arrive(&mut self, pending: &Pending) {
        match *pending {
            Pending::Len(len) => self.platter.resize(len, 0),
            Pending::Sector(index, ref bytes) => {
                let start = index * SECTOR;
                if start < self.platter.len() {
                    let len = SECTOR.min(self.platter.len() - start);
                    self.platter[start..start + len].copy_from_slice(&bytes[..len]);
                }
            }
        }
    }

    fn resize(&mut self, len: usize, tracked: bool) {
        self.cached.resize(len, 0);
        if tracked {
            self.pending.push(Pending::Len(len));
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8], tracked: bool) {
        if offset + bytes.len() > self.cached.len() {
            self.resize(offset + bytes.len(), tracked);
        }
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        if tracked && !bytes.is_empty() {
            for index in offset / SECTOR..(offset + bytes.len()).div_ceil(SECTOR) {
                let mut sector = Box::new([0; SECTOR]);
                let cached = &self.cached[index * SECTOR..];
                let len = cached.len().min(SECTOR);
                sector[..len].copy_from_slice(&cached[..len]);
                self.pending.push(Pending::Sector(index, sector));
            }
        }
    }
}

impl MemDisk {
    /// An empty disk; `tracked` if its power may fail.
    pub fn new(path: &Path, tracked: bool) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), tracked, state: Mutex::default() })
    }

    /// The directory, locked until dropped.
    pub fn lock(self: &Arc<Self>) -> Result<Arc<dyn Storage>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Err(Error::new(ErrorKind::Locked, format!("{}: in use by this process", self.path.display())));
        }
        Ok(Arc::new(MemDir(self.clone())))
    }

    /// Sets what goes wrong from now on. Operation and sync numbers count from the disk's first.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// How many operations and syncs there were.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.ops, state.syncs)
    }

    /// The disk after a power cut: synced contents, and a random part of the rest.
    pub fn after_power_cut(&self, seed: u64) -> Arc<Self> {
        let mut coins = Coins(seed);
        let mut files = self.state().files.clone();
        files.retain(|_, contents| contents.linked || coins.below(2) == 0);
        for contents in files.values_mut() {
            contents.settle(&mut coins);
            contents.cached.clone_from(&contents.platter);
            contents.linked = true;
        }
        self.with_files(files)
    }

    /// The disk after the process was killed: everything that was written is seen, synced or not.
    pub fn after_kill(&self) -> Arc<Self> {
        let files = self.state().files.clone();
        self.with_files(files)
    }

    /// All files and their contents.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().files.iter().map(|(name, contents)| (name.clone(), contents.cached.clone())).collect()
    }

    /// A disk with these files, durable.
    pub fn from_files(path: &Path, files: BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let durable = |cached: Vec<u8>| Contents { platter: cached.clone(), cached, pending: Vec::new(), linked: true };
        let files = files.into_iter().map(|(name, cached)| (name, durable(cached))).collect();
        Self { path: path.to_owned(), tracked: false, state: Mutex::default() }.with_files(files)
    }

    fn with_files(&self, files: BTreeMap<String, Contents>) -> Arc<Self> {
        let state = Mutex::new(State { files, ..State::default() });
        Arc::new(Self { path: self.path.clone(), tracked: self.tracked, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, what: &str, name: &str, errno: i32) -> Error {
        Error::os(format!("{what} {}", self.path.join(name).display()), io::Error::from_raw_os_error(errno))
    }

    /// Counts an operation that changes something; `None` once the disk is dead.
    fn step(&self, what: &str, name: &str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let op = state.ops;
        state.ops += 1;
        state.dead |= state.faults.fatal_op == Some(op);
        if state.dead { Err(self.failed(what, name, libc::EIO)) } else { Ok(state) }
    }
}

impl State {
    fn contents(&mut self, name: &str) -> &mut Contents {
        self.files.entry(name.to_owned()).or_default()
    }

    /// Whether a file may grow to `len`.
    fn has_space(&self, name: &str, len: u64) -> bool {
        let size = |contents: &Contents| contents.cached.len() as u64;
        let total: u64 = self.files.values().map(size).sum();
        let grown = len.saturating_sub(self.files.get(name).map_or(0, size));
        grown == 0 || self.faults.space.is_none_or(|space| total + grown <= space)
    }
}

struct MemDir(Arc<MemDisk>);

impl Drop for MemDir {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

impl Storage for MemDir {
    fn path(&self) -> &Path {
        &self.0.path
    }

    fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
        let found = self.0.state().files.contains_key(name);
        Ok(found.then(|| MemFile::open(&self.0, name)))
    }

    fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.0.step("create", name)?.contents(name);
        Ok(MemFile::open(&self.0, name))
    }

    fn sync_dir(&self) -> Result<()> {
        let mut state = self.0.step("fsync", "")?;
        state.files.values_mut().for_each(|contents| contents.linked = true);
        Ok(())
    }
}

struct MemFile {
    disk: Arc<MemDisk>,
    name: String,
    path: PathBuf,
}

impl MemFile {
    fn open(disk: &Arc<MemDisk>, name: &str) -> Arc<dyn StorageFile> {
        Arc::new(Self { disk: disk.clone(), name: name.to_owned(), path: disk.path.join(name) })
    }

    fn full(&self, what: &str) -> Error {
        self.disk.failed(what, &self.name, libc::ENOSPC)
    }
}

impl StorageFile for MemFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.disk.state();
        let cached = &state.contents(&self.name).cached;
        let start = (offset as usize).min(cached.len());
        let len = buf.len().min(cached.len() - start);
        buf[..len].copy_from_slice(&cached[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let tracked = self.disk.tracked;
        match self.disk.step("write", &self.name) {
            Ok(mut state) => {
                let fits = state.has_space(&self.name, offset + bytes.len() as u64);
                let room = if fits { bytes.len() } else { bytes.len() / 2 };
                let room = if fits || state.has_space(&self.name, offset + room as u64) { room } else { 0 };
                state.contents(&self.name).write(offset as usize, &bytes[..room], tracked);
                if fits { Ok(()) } else { Err(self.full("write")) }
            }
            Err(error) => {
                // The operation that dies may have got anywhere.
                let mut state = self.disk.state();
                if state.faults.fatal_op == Some(state.ops - 1) {
                    let part = Coins(state.ops).below(bytes.len() as u64 + 1) as usize;
                    state.contents(&self.name).write(offset as usize, &bytes[..part], tracked);
                }
                Err(error)
            }
        }
    }

    fn len(&self) -> Result<u64> {
        Ok(self.disk.state().contents(&self.name).cached.len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.disk.step("truncate", &self.name)?;
        if !state.has_space(&self.name, len) {
            return Err(self.full("truncate"));
        }
        state.contents(&self.name).resize(len as usize, self.disk.tracked);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.step("fallocate", &self.name)?;
        if !state.has_space(&self.name, offset + len) {
            return Err(self.full("fallocate"));
        }
        let contents = state.contents(&self.name);
        let len = contents.cached.len().max((offset + len) as usize);
        contents.resize(len, self.disk.tracked);
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.step("punch", &self.name)?;
        let contents = state.contents(&self.name);
        let start = (offset as usize).min(contents.cached.len());
        let end = start.saturating_add(len as usize).min(contents.cached.len());
        contents.write(start, &vec![0; end - start], self.disk.tracked);
        Ok(())
    }

    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        Ok(range)
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.disk.step("fdatasync", &self.name)?;
        let sync = state.syncs;
        state.syncs += 1;
        let fails = state.faults.failing_sync == Some(sync);
        let lies = state.faults.lying_syncs;
        let contents = state.contents(&self.name);
        if lies {
            return Ok(());
        }
        if fails {
            contents.settle(&mut Coins(sync));
            return Err(self.disk.failed("fdatasync", &self.name, libc::EIO));
        }
        // The length lives in the inode, which stays dirty also when a sync fails.
        let len = contents.cached.len();
        contents.platter.resize(len.max(contents.platter.len()), 0);
        for pending in std::mem::take(&mut contents.pending) {
            contents.arrive(&pending);
        }
        contents.platter.resize(len, 0);
        Ok(())
    }
}
