//! Disks that are files: made, mounted, shut down, and taken away again whatever happens.
//!
//! All mounts are made in a mount namespace of the calling thread: when the process ends, be it by a kill, the kernel unmounts them and gives their loop
//! devices back. So whoever works on them must be started by that thread, and the thread may not outlive its test.

use crate::process::{is_root, skip};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `XFS_IOC_GOINGDOWN`, which ext4 has as well.
const GOING_DOWN: libc::Ioctl = 0x8004_587D_u32 as libc::Ioctl;
/// Drops what the log has not on disk yet, as a crash would.
static NO_LOG_FLUSH: u32 = 2;

/// What the disks of one suite take at most, in bytes.
const ROOM: u64 = 2 << 30;

/// Which file system a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// xfs, with reflinks.
    Xfs,
    /// ext4, with a journal.
    Ext4,
}

impl FileSystem {
    /// Its name, for `mount`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
        }
    }

    /// What to mount with, so that a copy may be mounted beside the original.
    fn options(self) -> &'static str {
        match self {
            Self::Xfs => "loop,nouuid",
            Self::Ext4 => "loop",
        }
    }

    /// Makes a sparse file of `bytes` at `image`, with this file system in it.
    ///
    /// # Errors
    /// What the program that makes it said.
    pub fn make(self, image: &Path, bytes: u64) -> Result<(), String> {
        File::create(image).and_then(|file| file.set_len(bytes)).map_err(|e| format!("{}: {e}", image.display()))?;
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        command.args(if self == Self::Xfs {
            &["-q", "-f", "-m", "reflink=1"]
        } else {
            &["-q", "-F", "-E", "nodiscard"][..]
        });
        run(command.arg(image))
    }
}

/// Runs a program that says nothing when it works.
///
/// # Errors
/// That it is not there, or what it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Whether the suites that need machines or disks of their own run: `STREWN_MACHINES=1`, and root. Says why if not.
///
/// Puts the calling thread into a mount namespace of its own.
///
/// # Panics
/// As [`missing`].
pub fn may_mount(what: &str) -> bool {
    if std::env::var_os("STREWN_MACHINES").is_none_or(|value| value != "1") {
        skip(&format!("{what}: takes a minute and root; STREWN_MACHINES=1 runs it"));
        return false;
    }
    if !is_root() {
        skip(&format!("{what}: mounting takes root"));
        return false;
    }
    let private = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
    });
    private.map_err(|e| missing(what, &format!("a mount namespace: {e}"))).is_ok()
}

/// A temporary directory for disks: in memory if there is room for them, which makes many more checkpoints than a disk below the disks would.
///
/// # Panics
/// If there is no directory to be had.
pub fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let room = statvfs(memory).map_or(0, |all| all.blocks_available() * all.fragment_size());
    let made = if room >= ROOM { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary directory")
}

/// Says that something which this suite needs is not there.
///
/// # Panics
/// If STREWN_REQUIRE_KERNEL=1: then it must be.
pub fn missing(what: &str, why: &str) {
    let required = std::env::var_os("STREWN_REQUIRE_KERNEL").is_some_and(|v| v == "1");
    assert!(!required, "required: {what}: {why}");
    skip(&format!("{what}: {why}"));
}

/// A mounted image; unmounted when dropped.
pub struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Mounts `image` at `dir`, which is made if need be.
    ///
    /// # Errors
    /// What `mount` said.
    pub fn new(image: &Path, file_system: FileSystem, dir: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        run(Command::new("mount").args(["-t", file_system.name(), "-o", file_system.options()]).arg(image).arg(dir))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops the file system where it is: nothing that it has in memory reaches the disk any more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn shut_down(&self) -> io::Result<()> {
        let dir = File::open(&self.dir)?;
        // SAFETY: the descriptor is open, and the call reads one u32, a static.
        let failed = unsafe { libc::ioctl(dir.as_raw_fd(), GOING_DOWN, &raw const NO_LOG_FLUSH) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Unmounts it. Whoever worked on it must have ended.
    ///
    /// # Panics
    /// If it stays busy.
    pub fn unmount(self) {
        for _ in 0..200 {
            match umount2(&self.dir, MntFlags::empty()) {
                Ok(()) => return std::mem::forget(self),
                Err(nix::errno::Errno::EBUSY) => std::thread::sleep(Duration::from_millis(10)),
                Err(e) => panic!("unmount {}: {e}", self.dir.display()),
            }
        }
        panic!("unmount {}: busy", self.dir.display());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing can be done if it fails; the namespace goes with the process.
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
    }
}

/// Copies a file, leaving holes where zeros are.
///
/// # Errors
/// What `cp` said.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=never"]).arg(from).arg(to))
}

/// Keeps an image that shows a bug, out of a directory that is removed. Returns where.
pub fn keep(image: &Path) -> String {
    let name = image.file_name().unwrap_or_default().display();
    let copy = std::env::temp_dir().join(format!("strewn-kept-{}-{name}", std::process::id()));
    match copy_sparse(image, &copy) {
        Ok(()) => format!("the disk is kept at {}", copy.display()),
        Err(e) => format!("the disk could not be kept: {e}"),
    }
}
