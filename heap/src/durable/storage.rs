//! [`Storage`] and [`StorageFile`]: the few file operations that the store is built on.
//!
//! What is assumed of an implementation, and of the disk below it:
//!
//! 1. `write_at` may reach the disk in any subset and order of its 512-byte sectors until `sync` returns; a sector is
//!    written whole or not at all, so that rewriting bytes with equal values never harms them.
//! 2. `sync` makes everything written to that file before, and its length, durable. It orders nothing between files.
//! 3. After a failed `sync` nothing is known about what was not synced before.
//! 4. A file that was created is durably in its directory once `sync_dir` returned.
//! 5. A directory that was renamed has its new name durably once its parent was synced; until then it has one of the two.
//! 6. What was durable can be read: a disk that cannot read a sector that it was writing when the power failed leaves a heap that does not open.
//!
//! On Linux this is [`files`](super::files); under Miri and the twin it is [`mem`](super::mem); the crash suites bring their own, which loses power.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Canary, Error, ErrorKind, Result, canary};

/// One file of a heap. All offsets and lengths are bytes.
#[allow(clippy::len_without_is_empty, reason = "asking costs a system call, which may fail")]
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
    /// Makes the directory's own name durable.
    fn sync_parent(&self) -> Result<()>;
    /// Takes back a heap that was just created and that nobody has used, because of `error`, so that it can be created again. Gives the error, with more to it if
    /// the heap stays.
    fn withdraw(&self, error: Error) -> Error;
    /// Whether folds may run in a thread of their own; false where the order of operations must be repeatable.
    fn folds_in_background(&self) -> bool {
        true
    }
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

/// A directory being built beside its final name.
pub trait NewStorage: Storage {
    /// Gives it that name, unless the name is taken; locked as before. Durable once [`Storage::sync_parent`] returned.
    fn rename(self: Box<Self>) -> Result<Arc<dyn Storage>>;
}

/// Where heaps lie: creating, finding and locking their directories.
pub trait Place: Send + Sync {
    /// Starts the directory that is to be called `path`: beside it, empty, locked. What a crash left of an earlier attempt is removed.
    fn start(&self, path: &Path) -> Result<Box<dyn NewStorage>>;
    /// Opens and locks an existing heap's directory.
    fn open(&self, path: &Path) -> Result<Arc<dyn Storage>>;
}

/// Builds a new heap's files with `build`, all or nothing, and returns its directory, locked. `build` syncs files and directory.
pub fn create(place: &dyn Place, path: &Path, build: &dyn Fn(&dyn Storage) -> Result<()>) -> Result<Arc<dyn Storage>> {
    let new = place.start(path)?;
    build(&*new)?;
    let storage = new.rename()?;
    if !canary(Canary::CreationNotSynced) {
        storage.sync_parent().map_err(|e| storage.withdraw(e))?;
    }
    Ok(storage)
}

/// The operating system's files; in the twin, files in memory.
pub fn default_place() -> &'static dyn Place {
    #[cfg(any(miri, strewn_twin))]
    return &super::mem::Disks;
    #[cfg(not(any(miri, strewn_twin)))]
    &super::files::Files
}
