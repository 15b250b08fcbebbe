//! Directories of files, as they were at one time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const CHUNK: usize = 4096;

/// One file as it was.
#[derive(Clone, PartialEq, Eq)]
pub struct FileState {
    /// Its length in bytes.
    pub len: u64,
    /// Its chunks that are not all zero, by offset. The last one may be short.
    pub chunks: BTreeMap<u64, Vec<u8>>,
    /// Inode, mode, and when it was last modified, in nanoseconds.
    pub stamp: (u64, u32, i128),
}

/// All files under a directory as they were.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, FileState>,
}

impl FileState {
    fn take(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let stamp = (meta.ino(), meta.mode(), modified_ns);
        // Not to be opened, because closing the lock file of a heap that this process has open would drop the lock.
        if meta.len() == 0 {
            return Ok(Self { len: 0, chunks: BTreeMap::new(), stamp });
        }
        let file = File::open(path)?;
        let mut chunks = BTreeMap::new();
        let mut at = 0;
        while at < meta.len() {
            let mut chunk = vec![0; CHUNK.min((meta.len() - at) as usize)];
            file.read_exact_at(&mut chunk, at)?;
            if chunk.iter().any(|byte| *byte != 0) {
                chunks.insert(at, chunk);
            }
            at += CHUNK as u64;
        }
        Ok(Self { len: meta.len(), chunks, stamp })
    }

    /// The offset and value of each byte that is not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (u64, u8)> + '_ {
        let in_chunk = |(at, chunk): (&u64, &Vec<u8>)| {
            let at = *at;
            chunk.clone().into_iter().zip(at..).map(|(byte, at)| (at, byte))
        };
        self.chunks.iter().flat_map(in_chunk).filter(|(_, byte)| *byte != 0)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        for (at, chunk) in &self.chunks {
            file.write_all_at(chunk, *at)?;
        }
        file.set_len(self.len)?;
        file.set_permissions(fs::Permissions::from_mode(self.stamp.1 & 0o7777))
    }

    fn first_difference(&self, other: &Self) -> Option<String> {
        if self.len != other.len {
            return Some(format!("length {} became {}", self.len, other.len));
        }
        let empty = Vec::new();
        for at in self.chunks.keys().chain(other.chunks.keys()) {
            let (a, b) = (self.chunks.get(at).unwrap_or(&empty), other.chunks.get(at).unwrap_or(&empty));
            let byte = |chunk: &[u8], i: usize| chunk.get(i).copied().unwrap_or(0);
            if let Some(i) = (0..CHUNK).find(|i| byte(a, *i) != byte(b, *i)) {
                let offset = at + i as u64;
                return Some(format!("offset {offset:#x}: {:#04x} became {:#04x}", byte(a, i), byte(b, i)));
            }
        }
        None
    }
}

impl Snapshot {
    /// All files under `dir` as they are now.
    ///
    /// # Panics
    /// If one cannot be read.
    pub fn take(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        for path in files_under(dir) {
            let state = FileState::take(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            files.insert(path.strip_prefix(dir).expect("under the directory").to_path_buf(), state);
        }
        Self { files }
    }

    /// A snapshot of these files, by path within the directory.
    pub fn of(files: BTreeMap<PathBuf, FileState>) -> Self {
        Self { files }
    }

    /// The files by path within the directory.
    pub fn files(&self) -> &BTreeMap<PathBuf, FileState> {
        &self.files
    }

    /// Makes the files in `dir` what they were: writes those whose contents differ, and removes those that are new.
    ///
    /// # Panics
    /// If the operating system refuses.
    pub fn restore(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("create the directory");
        for path in files_under(dir) {
            if !self.files.contains_key(path.strip_prefix(dir).expect("under the directory")) {
                fs::remove_file(&path).expect("remove a file");
            }
        }
        for (path, state) in &self.files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a file has a parent")).expect("create a directory");
            if FileState::take(&path).is_ok_and(|now| state.first_difference(&now).is_none()) {
                continue;
            }
            state.write(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }

    /// The first difference of contents between this and a later snapshot.
    pub fn content_change(&self, later: &Self) -> Option<String> {
        for (path, state) in &self.files {
            let Some(now) = later.files.get(path) else { return Some(format!("{} is gone", path.display())) };
            if let Some(what) = state.first_difference(now) {
                return Some(format!("{}: {what}", path.display()));
            }
        }
        later.files.keys().find(|path| !self.files.contains_key(*path)).map(|path| format!("{} is new", path.display()))
    }

    /// The first difference between this and a later snapshot, in contents, inodes, modes or times.
    pub fn any_change(&self, later: &Self) -> Option<String> {
        self.content_change(later).or_else(|| {
            let changed = self.files.iter().find(|(path, state)| later.files[*path].stamp != state.stamp)?;
            Some(format!("{}: (inode, mode, mtime) {:?} changed", changed.0.display(), changed.1.stamp))
        })
    }
}

/// All regular files under `dir`, sorted.
///
/// # Panics
/// If it cannot be read.
pub fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Bytes of disk that the files under `dir` take.
///
/// # Panics
/// If it cannot be read.
pub fn allocated_bytes(dir: &Path) -> u64 {
    files_under(dir).iter().map(|path| fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)).sum()
}
