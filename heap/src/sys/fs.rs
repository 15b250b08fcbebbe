//! Files and directories: positioned reads and writes, space, durability, atomic creation of a directory.
//!
//! 1. Every call either does all that was asked or returns an error that names call, path, offset and length;
//!    interrupted and short calls are continued here.
//! 2. Files are opened close-on-exec, and created readable and writable by their owner alone.
//! 3. A directory built with [`NewDir`] appears under its final name whole, or not at all; durably, once [`Dir::sync_parent`] returned.
//!
//! Must not: know what the bytes mean, or lock (that is `lock.rs`).

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::lock::DirLock;
use crate::base::{Error, ErrorKind, Result};

const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// A file open for reading and writing.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: PathBuf,
}

impl File {
    /// Opens an existing file; `None` if there is none.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        match options().open(path) {
            Ok(file) => Ok(Some(Self { file, path: path.to_owned() })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::os(format!("open {}", path.display()), e)),
        }
    }

    /// Opens a file, creating it empty if there is none.
    pub fn create(path: &Path) -> Result<Self> {
        let file = options().create(true).open(path).map_err(|e| Error::os(format!("create {}", path.display()), e))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads until `buf` is full or the file ends; returns the number of bytes read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match self.file.read_at(&mut buf[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed("pread", offset, buf.len() as u64, e)),
            }
        }
        Ok(read)
    }

    /// Writes all of `bytes`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.failed("pwrite", offset, bytes.len() as u64, e))
    }

    /// The file's length.
    pub fn len(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(|e| Error::os(format!("fstat {}", self.path.display()), e))
    }

    /// Truncates or extends to `len`.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| self.failed("ftruncate", len, 0, e))
    }

    /// Reserves space and extends the file; does nothing where the file system cannot.
    pub fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        match self.fallocate(0, offset, len) {
            Err(e) if unsupported(&e) => Ok(()),
            result => result.map_err(|e| self.failed("fallocate", offset, len, e)),
        }
    }

    /// Makes a range read as zeros, by a hole where the file system can. Never extends the file.
    pub fn punch(&self, offset: u64, len: u64) -> Result<()> {
        match self.fallocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, len) {
            Err(e) if unsupported(&e) => self.write_zeros(offset, len.min(self.len()?.saturating_sub(offset))),
            result => result.map_err(|e| self.failed("fallocate (punch)", offset, len, e)),
        }
    }

    /// The first stretch within `range` that may hold anything but zeros, cut to it; empty at its end if there is none. All of it where the file
    /// system does not tell.
    pub fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        let Range { start, end } = range;
        let data = match self.seek(start, libc::SEEK_DATA) {
            Ok(data) => data.min(end),
            Err(e) if e.raw_os_error() == Some(libc::ENXIO) => return Ok(end..end),
            Err(e) if unsupported(&e) => return Ok(start..end),
            Err(e) => return Err(self.failed("lseek", start, end - start, e)),
        };
        // Whatever lies beyond counts as data if the end of the stretch is not told.
        let hole = self.seek(data, libc::SEEK_HOLE).ok().filter(|hole| *hole > data);
        Ok(data..hole.unwrap_or(end).min(end))
    }

    fn seek(&self, offset: u64, whence: libc::c_int) -> io::Result<u64> {
        let offset = libc::off64_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
        // SAFETY: lseek64 takes no pointers; the descriptor is open for as long as `self.file` lives. Nobody uses the file position.
        let found = unsafe { libc::lseek64(self.file.as_raw_fd(), offset, whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    }

    /// Makes contents and length durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::os(format!("fdatasync {}", self.path.display()), e))
    }

    fn fallocate(&self, mode: libc::c_int, offset: u64, len: u64) -> io::Result<()> {
        let signed = |n| libc::off64_t::try_from(n).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
        let (offset, len) = (signed(offset)?, signed(len)?);
        loop {
            // SAFETY: fallocate64 takes no pointers; the descriptor is open for as long as `self.file` lives.
            if unsafe { libc::fallocate64(self.file.as_raw_fd(), mode, offset, len) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn write_zeros(&self, offset: u64, len: u64) -> Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(ZEROS.len() as u64);
            self.write_at(offset + done, &ZEROS[..step as usize])?;
            done += step;
        }
        Ok(())
    }

    fn failed(&self, call: &str, offset: u64, len: u64, e: io::Error) -> Error {
        Error::os(format!("{call} of {len} bytes at offset {offset:#x} of {}", self.path.display()), e)
    }
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

fn unsupported(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
}

/// Whether there is a directory at `path`; false if there is nothing.
pub fn is_dir(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::os(format!("stat {}", path.display()), e)),
    }
}

/// A directory, by its path, and open, so that making its entries or its name durable needs no descriptor when there may be none left.
#[derive(Debug)]
pub struct Dir {
    path: PathBuf,
    file: fs::File,
    /// The directory that it is in, unless that may not be read.
    parent: Option<fs::File>,
}

impl Dir {
    /// The directory at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |path: &Path| fs::File::open(path).map_err(|e| Error::os(format!("open {}", path.display()), e));
        // Not by the name: that may be a symbolic link, which lies elsewhere.
        let parent = match open(&path.join("..")) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => None,
            parent => Some(parent?),
        };
        Ok(Self { path: path.to_owned(), file: open(path)?, parent })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes its entries durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::os(format!("fsync {}", self.path.display()), e))
    }

    /// Makes its own name durable: syncs the directory that it is in, or, where that may not be read, the whole file system.
    pub fn sync_parent(&self) -> Result<()> {
        let Some(parent) = &self.parent else { return self.sync_file_system() };
        parent.sync_all().map_err(|e| Error::os(format!("fsync the directory of {}", self.path.display()), e))
    }

    fn sync_file_system(&self) -> Result<()> {
        // SAFETY: syncfs takes no pointers; the descriptor is open for as long as `self.file` lives.
        match unsafe { libc::syncfs(self.file.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(Error::os(format!("syncfs {}", self.path.display()), io::Error::last_os_error())),
        }
    }
}

/// A directory being built beside its final name, `NAME.heap.new`. Dropped unfinished, it is left for the next
/// attempt to remove.
#[derive(Debug)]
pub struct NewDir {
    path: PathBuf,
    target: PathBuf,
}

impl NewDir {
    /// Starts a directory that will be `target`. What a crash left of an earlier attempt is removed: files with one of
    /// the `known` names, unless another process holds the lock file `lock` there.
    pub fn start(target: &Path, known: &[&str], lock: &str) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{}: not a name", target.display())));
        };
        match fs::symlink_metadata(target) {
            Ok(_) => return Err(Error::new(ErrorKind::AlreadyExists, format!("{}: exists already", target.display()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::os(format!("stat {}", target.display()), e)),
        }
        let path = parent(target).join(building_name(name));
        if is_dir(&path)? {
            let _held = DirLock::acquire(&path, lock)?;
            remove_known(&path, known)?;
        }
        let made = fs::DirBuilder::new().mode(DIR_MODE).create(&path);
        made.map_err(|e| Error::os(format!("mkdir {}", path.display()), e))?;
        Ok(Self { path, target: target.to_owned() })
    }

    /// Where to build.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory, open as `dir`, its final name. Its files, and itself, must have been synced; [`Dir::sync_parent`] is to follow.
    pub fn rename(self, dir: Dir) -> Result<Dir> {
        rename_to_free_name(&self.path, &self.target)?;
        Ok(Dir { path: self.target, ..dir })
    }
}

/// Takes back a directory that [`NewDir::rename`] has just named and that nobody has used, because of `error`: it is then what an unfinished one is. Gives the
/// error, with more to it if the directory stays.
pub fn withdraw(target: &Path, error: Error) -> Error {
    let name = target.file_name().map(building_name).unwrap_or_default();
    match rename_to_free_name(target, &target.with_file_name(name)) {
        Ok(()) => error,
        Err(e) => error.context(format!("{} was created, is empty, and stays, because: {e}", target.display())),
    }
}

/// The directory that `path` is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn building_name(name: &std::ffi::OsStr) -> OsString {
    let mut building = name.to_owned();
    building.push(if name.as_bytes().ends_with(b".heap") { ".new" } else { ".heap.new" });
    building
}

fn remove_known(dir: &Path, known: &[&str]) -> Result<()> {
    for name in known {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::os(format!("remove {}", dir.join(name).display()), e));
            }
            _ => {}
        }
    }
    fs::remove_dir(dir).map_err(|e| Error::os(format!("rmdir {}, left over from a creation", dir.display()), e))
}

/// Renames, and fails if the new name is taken, also when it is taken at the last moment.
fn rename_to_free_name(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("rename {} to {}", from.display(), to.display());
    let c_path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|e| Error::os(what(), e.into()));
    let (c_from, c_to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both pointers are NUL-terminated strings that outlive the call; AT_FDCWD and the flag are plain numbers.
    // The system call is made directly because not every libc wraps it.
    let result = unsafe {
        let (from, to, cwd) = (c_from.as_ptr(), c_to.as_ptr(), libc::AT_FDCWD);
        libc::syscall(libc::SYS_renameat2, cwd, from, cwd, to, libc::RENAME_NOREPLACE)
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if !unsupported(&error) {
        return Err(Error::os(what(), error));
    }
    // Plain rename replaces at most an empty directory, which holds no heap.
    fs::rename(from, to).map_err(|e| Error::os(what(), e))
}
