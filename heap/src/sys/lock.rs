//! [`DirLock`]: one user of a directory at a time, across processes and within this one.
//!
//! Across processes an `fcntl` write lock on a file in the directory decides: the kernel drops it with the process, so
//! that a crash never leaves it behind, and a forked child does not inherit it. It has two traps, and both are why the
//! registry below is asked first:
//!
//! 1. `fcntl` never refuses a process its own lock. The registry holds the (device, inode) of each locked directory.
//! 2. Closing *any* descriptor of the file drops the process's lock. So the file is opened only once the registry says
//!    that nobody here holds it.
//!
//! An entry carries the pid that made it: what a forked child finds of its parent's is no lock of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::{Error, ErrorKind, Result};

/// Directories locked by this process. A static must be const-constructible, hence std's lock also under loom.
static HELD: Mutex<BTreeMap<(u64, u64), u32>> = Mutex::new(BTreeMap::new());

fn held() -> MutexGuard<'static, BTreeMap<(u64, u64), u32>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds the directory until dropped.
#[derive(Debug)]
pub struct DirLock {
    key: (u64, u64),
    /// Closing it is what releases the lock for other processes.
    file: Option<fs::File>,
}

impl DirLock {
    /// Locks `dir` by its file `name`, which is created if missing. Never waits.
    ///
    /// # Errors
    /// `Locked`, naming the holder.
    pub fn acquire(dir: &Path, name: &str) -> Result<Self> {
        let metadata = fs::metadata(dir).map_err(|e| Error::os(format!("stat {}", dir.display()), e))?;
        let mut lock = Self { key: (metadata.dev(), metadata.ino()), file: None };
        let me = std::process::id();
        if held().insert(lock.key, me) == Some(me) {
            std::mem::forget(lock);
            return Err(locked(dir, "this process"));
        }
        // From here on dropping `lock` takes the entry out again.
        let path = dir.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|e| Error::os(format!("open {}", path.display()), e))?;
        if let Err(error) = fcntl(&file, libc::F_SETLK, &mut write_lock()) {
            return Err(match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => locked(dir, &holder(&file)),
                _ => Error::os(format!("lock {}", path.display()), error),
            });
        }
        // A creator that clears away what a crash left may have removed the file between open and lock: the lock would then be on nothing.
        let same = |at: &Path, of: &fs::Metadata| fs::metadata(at).is_ok_and(|found| found.ino() == of.ino());
        let locked_file = file.metadata().map_err(|e| Error::os(format!("stat {}", path.display()), e))?;
        if !same(&path, &locked_file) || !same(dir, &metadata) {
            return Err(locked(dir, "another process, which is creating it"));
        }
        lock.file = Some(file);
        Ok(lock)
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        let mut held = held();
        // Before the entry goes, so that nobody opens the file between the two.
        self.file = None;
        if held.get(&self.key) == Some(&std::process::id()) {
            held.remove(&self.key);
        }
    }
}

fn locked(dir: &Path, holder: &str) -> Error {
    Error::new(ErrorKind::Locked, format!("{}: in use by {holder}", dir.display()))
}

fn holder(file: &fs::File) -> String {
    let mut lock = write_lock();
    match fcntl(file, libc::F_GETLK, &mut lock) {
        Ok(()) if i32::from(lock.l_type) != libc::F_UNLCK && lock.l_pid > 0 => format!("process {}", lock.l_pid),
        _ => "another process".to_owned(),
    }
}

fn write_lock() -> libc::flock {
    // SAFETY: `flock` is a C struct of integers, for which zeros are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}

fn fcntl(file: &fs::File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: both commands used here take a pointer to a `flock`, which `lock` is, exclusively borrowed for the call; the
    // descriptor is open for as long as `file` lives.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path(), "lock").unwrap();
        let error = DirLock::acquire(dir.path(), "lock").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("this process"), "{error}");
        drop(lock);
        DirLock::acquire(dir.path(), "lock").unwrap();
    }

    #[test]
    fn a_child_process_finds_its_parent_named() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = DirLock::acquire(dir.path(), "lock").unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(dir.path().join("lock")).unwrap();
        // SAFETY: the child only calls async-signal-safe functions (fcntl, _exit) and touches no lock or heap memory.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut lock = write_lock();
            let refused = fcntl(&file, libc::F_SETLK, &mut lock).is_err();
            let named = fcntl(&file, libc::F_GETLK, &mut lock).is_ok();
            // SAFETY: _exit and getppid have no preconditions.
            unsafe { libc::_exit(if refused && named && lock.l_pid == libc::getppid() { 0 } else { 1 }) };
        }
        assert!(child > 0);
        let mut status = -1;
        // SAFETY: `status` is writable for the call, and `child` is a child of this process.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        std::mem::forget(file);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("nowhere");
        let error = DirLock::acquire(&missing, "lock").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("nowhere"));
    }
}
