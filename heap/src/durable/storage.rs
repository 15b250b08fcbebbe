//! [`Storage`] and [`StorageFile`]: the few file operations that the store is built on.
//!
//! What is assumed of an implementation, and of the disk below it:
//!
//! 1. `write_at` may reach the disk in any subset and order of its 512-byte sectors until `sync` returns; a sector is
//!    written whole or not at all, so that rewriting bytes with equal values never harms them.
//! 2. `sync` makes everything written to that file before, and its length, durable. It orders nothing between files.
//! 3. After a failed `sync` nothing is known about what was not synced before.
//! 4. A file that was created is durably in its directory once `sync_dir` returned.
//!
//! On Linux this is [`sys::fs`](crate::sys::fs); under Miri and the twin it is [`mem`](super::mem), which also simulates crashes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Error, ErrorKind, Result};

/// One file of a heap. All offsets and lengths are bytes.
pub trait StorageFile: Send + Sync {
    /// Where the file is, for messages.
    fn path(&self) -> &Path;
    /// Reads until `buf` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// Writes all of `bytes`, extending the file as needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// The file's length.
    fn len(&self) -> Result<u64>;
    /// Truncates or extends (with zeros) to `len`.
    fn set_len(&self, len: u64) -> Result<()>;
    /// Reserves space and extends the file, where the file system can; otherwise does nothing.
    fn allocate(&self, offset: u64, len: u64) -> Result<()>;
    /// Makes a range read as zeros, giving its space back where the file system can. Never extends the file.
    fn punch(&self, offset: u64, len: u64) -> Result<()>;
    /// The first stretch within `range` that may hold anything but zeros, cut to it; empty at its end if there is none.
    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>>;
    /// Makes the file's contents and length durable.
    fn sync(&self) -> Result<()>;
}

/// The directory of a heap.
pub trait Storage: Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// Opens a file for reading and writing; `None` if it does not exist.
    fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>>;
    /// Opens a file, creating it empty if it does not exist.
    fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>>;
    /// Makes the creation of files durable.
    fn sync_dir(&self) -> Result<()>;
}

/// A file that must exist in every heap.
pub fn must_open(storage: &dyn Storage, name: &str) -> Result<Arc<dyn StorageFile>> {
    storage.open_file(name)?.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, format!("{}: the heap's file is missing", storage.path().join(name).display()))
    })
}

/// Fills `buf` from `offset` on; bytes beyond the file's end are zeros.
pub fn read_zero_filled(file: &dyn StorageFile, offset: u64, buf: &mut [u8]) -> Result<()> {
    let len = file.read_at(offset, buf)?;
    buf[len..].fill(0);
    Ok(())
}

/// The first `limit` bytes of a file, fewer if it is shorter.
pub fn read_up_to(file: &dyn StorageFile, limit: u64) -> Result<Vec<u8>> {
    let len = file.len()?.min(limit);
    let mut bytes = Vec::new();
    usize::try_from(len).ok().and_then(|len| bytes.try_reserve_exact(len).ok()).ok_or_else(|| {
        Error::new(ErrorKind::OutOfMemory, format!("{}: no memory for its {len} bytes", file.path().display()))
    })?;
    bytes.resize(len as usize, 0);
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Builds a new heap's files with `build`, all or nothing, and returns its directory, locked.
pub fn create(path: &Path, build: &dyn Fn(&dyn Storage) -> Result<()>) -> Result<Arc<dyn Storage>> {
    platform::create(path, build)
}

/// Opens and locks an existing heap's directory.
pub fn open(path: &Path) -> Result<Arc<dyn Storage>> {
    platform::open(path)
}

#[cfg(any(miri, strewn_twin))]
use super::mem as platform;

#[cfg(not(any(miri, strewn_twin)))]
mod platform {
    use super::super::format::{SUPERBLOCK_BYTES, names};
    use super::super::superblock::Superblock;
    use super::{Storage, StorageFile, read_up_to};
    use crate::base::{Error, ErrorKind, Result};
    use crate::sys::fs::{self, Dir, File, NewDir};
    use crate::sys::lock::DirLock;
    use std::ops::Range;
    use std::path::Path;
    use std::sync::Arc;

    /// A directory and the lock that goes with it; files keep neither.
    struct LockedDir {
        dir: Dir,
        _lock: DirLock,
    }

    /// The path as it is now: files are opened later, too, when the working directory may be another.
    fn absolute(path: &Path) -> Result<std::path::PathBuf> {
        std::path::absolute(path).map_err(|e| Error::os(format!("path {}", path.display()), e))
    }

    pub fn create(path: &Path, build: &dyn Fn(&dyn Storage) -> Result<()>) -> Result<Arc<dyn Storage>> {
        let path = &absolute(path)?;
        let fixed = [names::SUPERBLOCK, names::ACKED, names::LOCK];
        let new = NewDir::start(path, &[&fixed[..], &names::LOGS, &names::METAS].concat(), names::LOCK)?;
        let lock = DirLock::acquire(new.path(), names::LOCK)?;
        build(&Dir::new(new.path()))?;
        Ok(Arc::new(LockedDir { dir: new.finish()?, _lock: lock }))
    }

    pub fn open(path: &Path) -> Result<Arc<dyn Storage>> {
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
        Ok(Arc::new(LockedDir { dir: Dir::new(path), _lock: lock }))
    }

    impl Storage for Dir {
        fn path(&self) -> &Path {
            self.path()
        }
        fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
            Ok(File::open(&self.path().join(name))?.map(|file| Arc::new(file) as Arc<dyn StorageFile>))
        }
        fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
            Ok(Arc::new(File::create(&self.path().join(name))?))
        }
        fn sync_dir(&self) -> Result<()> {
            fs::sync_dir(self.path())
        }
    }

    impl Storage for LockedDir {
        fn path(&self) -> &Path {
            self.dir.path()
        }
        fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
            self.dir.open_file(name)
        }
        fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
            self.dir.create_file(name)
        }
        fn sync_dir(&self) -> Result<()> {
            self.dir.sync_dir()
        }
    }

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
}
