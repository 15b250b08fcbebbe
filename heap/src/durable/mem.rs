//! The files of the twin: heaps in this process's memory, which Miri and `--cfg strewn_twin` run on.
//!
//! Must not: lose anything, or refuse what an operating system would not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::{NewStorage, Place, Storage, StorageFile};
use crate::base::{Error, ErrorKind, Result};

/// The heaps of this process, by path. Std's lock, because statics need a const one.
static DISKS: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

/// The place that is this process's memory.
pub struct Disks;

#[derive(Default)]
struct Disk {
    files: Mutex<BTreeMap<String, Arc<Contents>>>,
    locked: Mutex<bool>,
}

type Contents = Mutex<Vec<u8>>;

/// A directory, locked until dropped.
struct MemDir {
    path: PathBuf,
    disk: Arc<Disk>,
}

struct MemFile {
    path: PathBuf,
    contents: Arc<Contents>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemDir {
    fn lock(path: &Path, disk: Arc<Disk>) -> Result<Self> {
        if std::mem::replace(&mut *lock(&disk.locked), true) {
            return Err(Error::new(ErrorKind::Locked, format!("{}: in use by this process", path.display())));
        }
        Ok(Self { path: path.to_owned(), disk })
    }

    fn file(&self, name: &str, contents: &Arc<Contents>) -> Arc<dyn StorageFile> {
        Arc::new(MemFile { path: self.path.join(name), contents: contents.clone() })
    }
}

impl Drop for MemDir {
    fn drop(&mut self) {
        *lock(&self.disk.locked) = false;
    }
}

impl Place for Disks {
    fn start(&self, path: &Path) -> Result<Box<dyn NewStorage>> {
        if lock(&DISKS).contains_key(path) {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("{}: exists already", path.display())));
        }
        Ok(Box::new(MemDir::lock(path, Arc::default())?))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Storage>> {
        match lock(&DISKS).get(path) {
            Some(disk) => Ok(Arc::new(MemDir::lock(path, disk.clone())?)),
            None => Err(Error::new(ErrorKind::NotFound, format!("{}: no such heap", path.display()))),
        }
    }
}

impl NewStorage for MemDir {
    fn rename(self: Box<Self>) -> Result<Arc<dyn Storage>> {
        lock(&DISKS).insert(self.path.clone(), self.disk.clone());
        Ok(Arc::new(*self))
    }
}

impl Storage for MemDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
        Ok(lock(&self.disk.files).get(name).map(|contents| self.file(name, contents)))
    }

    fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let mut files = lock(&self.disk.files);
        Ok(self.file(name, files.entry(name.to_owned()).or_default()))
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }

    fn sync_parent(&self) -> Result<()> {
        Ok(())
    }

    /// Here nothing fails once a heap is there.
    fn withdraw(&self, error: Error) -> Error {
        error
    }

    fn folds_in_background(&self) -> bool {
        false
    }
}

impl StorageFile for MemFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let contents = lock(&self.contents);
        let start = (offset as usize).min(contents.len());
        let len = buf.len().min(contents.len() - start);
        buf[..len].copy_from_slice(&contents[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let (mut contents, offset) = (lock(&self.contents), offset as usize);
        let len = contents.len().max(offset + bytes.len());
        contents.resize(len, 0);
        contents[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.contents).len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        lock(&self.contents).resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let mut contents = lock(&self.contents);
        let len = contents.len().max((offset + len) as usize);
        contents.resize(len, 0);
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut contents = lock(&self.contents);
        let start = (offset as usize).min(contents.len());
        let end = start.saturating_add(len as usize).min(contents.len());
        contents[start..end].fill(0);
        Ok(())
    }

    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        Ok(range)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
