//! [`Files`]: the [`Place`] that is the operating system's file system, and [`Storage`] in its directories.
//!
//! Must not: make a system call (that is `sys/fs.rs`), or know what the bytes mean.

use super::format::{SUPERBLOCK_BYTES, names};
use super::storage::{NewStorage, Place, Storage, StorageFile, read_up_to};
use super::superblock::Superblock;
use crate::base::{Error, ErrorKind, Result};
use crate::sys::fs::{self, Dir, File, NewDir};
use crate::sys::lock::DirLock;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file system.
pub struct Files;

/// A directory and the lock that goes with it; files keep neither.
struct LockedDir {
    dir: Dir,
    _lock: DirLock,
}

/// A directory that is being built.
struct Building {
    new: NewDir,
    dir: Dir,
    lock: DirLock,
}

/// The path as it is now: files are opened later, too, when the working directory may be another.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Error::os(format!("path {}", path.display()), e))
}

impl Place for Files {
    fn start(&self, path: &Path) -> Result<Box<dyn NewStorage>> {
        let fixed = [names::SUPERBLOCK, names::ACKED, names::LOCK];
        let known = [&fixed[..], &names::LOGS, &names::METAS].concat();
        let new = NewDir::start(&absolute(path)?, &known, names::LOCK)?;
        let lock = DirLock::acquire(new.path(), names::LOCK)?;
        // Once it is ours: until then another creator may clear it away, and make one of the same name.
        let dir = Dir::open(new.path())?;
        Ok(Box::new(Building { new, dir, lock }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Storage>> {
        let path = &absolute(path)?;
        let superblock = path.join(names::SUPERBLOCK);
        match File::open(&superblock) {
            // Before the lock, which leaves a file: a directory that is no heap stays as it is. Other damage is told once it is ours.
            Ok(Some(file)) => match Superblock::pick(&superblock, &read_up_to(&file, 2 * SUPERBLOCK_BYTES as u64)?) {
                Err(e) if e.kind() == ErrorKind::NotAHeap => return Err(e),
                _ => {}
            },
            Ok(None) if fs::is_dir(path)? => {
                return Err(Error::new(
                    ErrorKind::NotAHeap,
                    format!("{}: there is no superblock", superblock.display()),
                ));
            }
            Ok(None) => return Err(Error::new(ErrorKind::NotFound, format!("{}: no such heap", path.display()))),
            Err(e) => return Err(e),
        }
        let lock = DirLock::acquire(path, names::LOCK)?;
        Ok(Arc::new(LockedDir { dir: Dir::open(path)?, _lock: lock }))
    }
}

impl NewStorage for Building {
    fn rename(self: Box<Self>) -> Result<Arc<dyn Storage>> {
        let Building { new, dir, lock } = *self;
        Ok(Arc::new(LockedDir { dir: new.rename(dir)?, _lock: lock }))
    }
}

/// Implements [`Storage`] for something that has a `dir`.
macro_rules! storage_in_its_dir {
    ($name:ident) => {
        impl Storage for $name {
            fn path(&self) -> &Path {
                self.dir.path()
            }
            fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
                Ok(File::open(&self.dir.path().join(name))?.map(|file| Arc::new(file) as Arc<dyn StorageFile>))
            }
            fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
                Ok(Arc::new(File::create(&self.dir.path().join(name))?))
            }
            fn sync_dir(&self) -> Result<()> {
                self.dir.sync()
            }
            fn sync_parent(&self) -> Result<()> {
                self.dir.sync_parent()
            }
            fn withdraw(&self, error: Error) -> Error {
                fs::withdraw(self.dir.path(), error)
            }
        }
    };
}

storage_in_its_dir!(LockedDir);
storage_in_its_dir!(Building);

impl StorageFile for File {
    fn path(&self) -> &Path {
        self.path()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_at(offset, bytes)
    }
    fn len(&self) -> Result<u64> {
        self.len()
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.allocate(offset, len)
    }
    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        self.punch(offset, len)
    }
    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        self.next_data(range)
    }
    fn sync(&self) -> Result<()> {
        self.sync()
    }
}
