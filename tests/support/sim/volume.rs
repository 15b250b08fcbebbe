//! [`Volume`]: the files of a disk as programs see them (the page cache), what is durable of them, and what is on its way.
//!
//! A crash keeps what is durable, and of what is pending whatever a [`Fate`] lets arrive, each piece on its own: sectors of 512 bytes, whole or torn between words
//! of 8 bytes; lengths; entries of directories; the name of a directory, old or new. So nothing is ordered that was not synced, within a file or across files.
//!
//! 1. Without a crash nothing differs from a file system.
//! 2. A sync that failed lets some of what was pending arrive, and forgets the rest: the page cache shows it, and no later sync writes it. The length is
//!    different: it lies in the inode, which stays dirty.
//!
//! Must not: know what the bytes mean.

use super::Coins;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that a disk writes whole, if it does not tear.
pub const SECTOR: usize = 512;
const WORD: usize = 8;

/// Something done to a volume. Directories and files are numbered in the order of their creation.
#[derive(Clone, Debug)]
pub enum Op {
    /// A new directory.
    MakeDir(PathBuf),
    /// A directory is removed with all that is in it.
    RemoveDir(usize),
    /// A directory gets another name.
    Rename(usize, PathBuf),
    /// Names of directories become durable.
    SyncParent,
    /// A new file in a directory.
    Create(usize, String),
    /// Names of files in a directory become durable.
    SyncDir(usize),
    /// Bytes of a file at an offset.
    Write(usize, usize, Arc<[u8]>),
    /// The length of a file.
    SetLen(usize, usize),
    /// A file becomes durable.
    Sync(usize),
    /// It should have; the number decides what arrived.
    FailedSync(usize, u64),
}

/// What becomes of one pending piece in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is lost.
    Lost,
    /// It arrives.
    Whole,
    /// Of a sector, the words of 8 bytes whose bits are set arrive. Other pieces cannot be torn, and arrive.
    Torn(u64),
}

/// Decides what arrives.
pub trait Fate {
    /// What becomes of the next piece.
    fn next(&mut self) -> Arrival;
}

impl<F: FnMut() -> Arrival> Fate for F {
    fn next(&mut self) -> Arrival {
        self()
    }
}

/// A random fate: some share of the pieces arrives, torn or not.
pub fn random_fate(coins: &mut Coins) -> impl Fate + use<> {
    let odds = [0, 32, 128, 224, 256][coins.below(5) as usize];
    let torn = [0, 0, 64, 256][coins.below(4) as usize];
    let mut coins = Coins::new(coins.next());
    move || match coins.below(256) < odds {
        false => Arrival::Lost,
        true if coins.below(256) < torn => Arrival::Torn(coins.next() | coins.next() & coins.next()),
        true => Arrival::Whole,
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    dirs: Vec<Dir>,
    files: Vec<Contents>,
}

#[derive(Clone, Debug)]
struct Dir {
    name: Option<PathBuf>,
    durable_name: Option<PathBuf>,
    /// Name, file, and whether the entry is durable.
    entries: BTreeMap<String, (usize, bool)>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    cached: Vec<u8>,
    platter: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Sector(usize, Box<[u8; SECTOR]>),
    Len(usize),
}

impl Contents {
    fn settle(&mut self, fate: &mut dyn Fate) {
        for pending in std::mem::take(&mut self.pending) {
            let arrival = fate.next();
            self.arrive(&pending, arrival);
        }
    }

    fn arrive(&mut self, pending: &Pending, arrival: Arrival) {
        let words = match arrival {
            Arrival::Lost => return,
            Arrival::Whole => !0,
            Arrival::Torn(words) => words,
        };
        match *pending {
            Pending::Len(len) => self.platter.resize(len, 0),
            Pending::Sector(index, ref bytes) => {
                let there = self.platter.get_mut(index * SECTOR..).unwrap_or_default();
                for (i, (to, from)) in there.chunks_mut(WORD).zip(bytes.chunks(WORD)).enumerate() {
                    if words >> i & 1 == 1 {
                        to.copy_from_slice(&from[..to.len()]);
                    }
                }
            }
        }
    }

    fn resize(&mut self, len: usize) {
        if len != self.cached.len() {
            self.cached.resize(len, 0);
            self.pending.push(Pending::Len(len));
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.resize(end.max(self.cached.len()));
        self.cached[offset..end].copy_from_slice(bytes);
        for index in offset / SECTOR..end.div_ceil(SECTOR) {
            let sector = Box::new(sector_of(&self.cached, index));
            let is_it = |pending: &Pending| matches!(pending, Pending::Sector(at, _) if *at == index);
            let last = self.pending.iter().rfind(|pending| is_it(pending));
            let known = match last {
                Some(Pending::Sector(_, bytes)) => **bytes,
                _ => sector_of(&self.platter, index),
            };
            // What is there already is no piece, unless a length that is on its way may take it away.
            if known == *sector && !self.pending.iter().any(|pending| matches!(pending, Pending::Len(_))) {
                continue;
            }
            // Of a file that is never synced, what was written before the last two times says nothing more.
            let mut versions = (0..self.pending.len()).filter(|at| is_it(&self.pending[*at]));
            if let (Some(oldest), Some(_)) = (versions.next(), versions.next()) {
                self.pending.remove(oldest);
            }
            self.pending.push(Pending::Sector(index, sector));
        }
    }

    fn sync(&mut self) {
        let len = self.cached.len();
        self.platter.resize(len.max(self.platter.len()), 0);
        self.settle(&mut || Arrival::Whole);
        self.platter.resize(len, 0);
    }
}

fn sector_of(bytes: &[u8], index: usize) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let there = bytes.get(index * SECTOR..).unwrap_or_default();
    let len = there.len().min(SECTOR);
    sector[..len].copy_from_slice(&there[..len]);
    sector
}

impl Volume {
    /// A volume with one directory and these files, durable.
    pub fn with_files(dir: &Path, files: &BTreeMap<String, Vec<u8>>) -> Self {
        let durable = |bytes: &Vec<u8>| Contents { cached: bytes.clone(), platter: bytes.clone(), pending: Vec::new() };
        let name = Some(dir.to_owned());
        let entries = files.keys().zip(0..).map(|(name, file)| (name.clone(), (file, true))).collect();
        Self {
            dirs: vec![Dir { name: name.clone(), durable_name: name, entries }],
            files: files.values().map(durable).collect(),
        }
    }

    /// Does it.
    pub fn apply(&mut self, op: &Op) {
        match *op {
            Op::MakeDir(ref name) => {
                self.dirs.push(Dir { name: Some(name.clone()), durable_name: None, entries: BTreeMap::new() });
            }
            Op::RemoveDir(dir) => self.dirs[dir].name = None,
            Op::Rename(dir, ref name) => self.dirs[dir].name = Some(name.clone()),
            Op::SyncParent => self.dirs.iter_mut().for_each(|dir| dir.durable_name.clone_from(&dir.name)),
            Op::Create(dir, ref name) => {
                self.files.push(Contents::default());
                self.dirs[dir].entries.insert(name.clone(), (self.files.len() - 1, false));
            }
            Op::SyncDir(dir) => self.dirs[dir].entries.values_mut().for_each(|entry| entry.1 = true),
            Op::Write(file, offset, ref bytes) => self.files[file].write(offset, bytes),
            Op::SetLen(file, len) => self.files[file].resize(len),
            Op::Sync(file) => self.files[file].sync(),
            Op::FailedSync(file, seed) => self.files[file].settle(&mut random_fate(&mut Coins::new(seed))),
        }
    }

    /// Does the part of a write that a killed process got through; nothing of what is done in one go.
    pub fn apply_part(&mut self, op: &Op, share: f64) {
        if let Op::Write(file, offset, bytes) = op {
            self.files[*file].write(*offset, &bytes[..(bytes.len() as f64 * share) as usize]);
        }
    }

    /// How many pieces are pending.
    pub fn pending(&self) -> usize {
        let names = self.dirs.iter().filter(|dir| dir.name != dir.durable_name).count();
        let entries = self.dirs.iter().flat_map(|dir| dir.entries.values()).filter(|entry| !entry.1).count();
        names + entries + self.files.iter().map(|contents| contents.pending.len()).sum::<usize>()
    }

    /// The volume after the power failed.
    #[must_use]
    pub fn after_power_cut(&self, fate: &mut dyn Fate) -> Self {
        let mut after = self.clone();
        for i in 0..after.dirs.len() {
            let dir = &mut after.dirs[i];
            if dir.name != dir.durable_name && fate.next() != Arrival::Lost {
                dir.durable_name.clone_from(&dir.name);
            }
            let name = dir.durable_name.clone();
            dir.name.clone_from(&name);
            dir.entries.retain(|_, entry| entry.1 || fate.next() != Arrival::Lost);
            dir.entries.values_mut().for_each(|entry| entry.1 = true);
            // A name is one directory's: that of a removed one is free if a later one has it.
            if name.is_some() {
                for earlier in after.dirs[..i].iter_mut().filter(|dir| dir.name == name) {
                    (earlier.name, earlier.durable_name) = (None, None);
                }
            }
        }
        for contents in &mut after.files {
            contents.settle(fate);
            contents.cached.clone_from(&contents.platter);
        }
        after
    }

    /// The directory that is called `name`.
    pub fn dir(&self, name: &Path) -> Option<usize> {
        self.dirs.iter().position(|dir| dir.name.as_deref() == Some(name))
    }

    /// How many directories there were.
    pub fn dirs_made(&self) -> usize {
        self.dirs.len()
    }

    /// What a directory is called.
    pub fn dir_name(&self, dir: usize) -> Option<&Path> {
        self.dirs[dir].name.as_deref()
    }

    /// The file of this name in a directory.
    pub fn file(&self, dir: usize, name: &str) -> Option<usize> {
        self.dirs[dir].entries.get(name).map(|entry| entry.0)
    }

    /// How many files there were.
    pub fn files_made(&self) -> usize {
        self.files.len()
    }

    /// What programs read from a file.
    pub fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file].cached
    }

    /// All files of a directory, as programs read them.
    pub fn files_in(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let Some(dir) = self.dir(dir) else { return BTreeMap::new() };
        let entries = self.dirs[dir].entries.iter();
        entries.map(|(name, (file, _))| (name.clone(), self.files[*file].cached.clone())).collect()
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.files.iter().map(|contents| contents.cached.len() as u64).sum()
    }
}
