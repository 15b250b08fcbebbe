//! Processes: what this one may do, and children that may do less.

use nix::unistd::{Gid, Uid};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The user that nobody is.
const NOBODY: u32 = 65534;

/// Prints a line on standard error that the test harness does not swallow.
pub fn say(line: &str) {
    // Nobody to tell if standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Says aloud that something is not tested here, and why.
pub fn skip(why: &str) {
    say(&format!("SKIP: {why}"));
}

/// The seed of a random test: what `STREWN_SEED` says, else a random one. The test prints it when it fails.
///
/// # Panics
/// If `STREWN_SEED` is no number.
pub fn seed() -> u64 {
    match std::env::var("STREWN_SEED") {
        Ok(text) => text.parse().expect("STREWN_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    }
}

/// Keeps the other tests of this process from opening heaps for as long as the result lives.
///
/// A heap is opened where it was created, and a process has room for about 126 zones: a heap that is closed for a moment
/// would find its place taken by that of another test.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary directory in memory, where there is one: for tests that sync a lot and care for contents alone.
///
/// # Panics
/// If there is no directory to be had.
pub fn fast_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// Prints the seed of a random test if the test fails while this is alive.
pub struct SeedOnFailure(pub u64);

impl Drop for SeedOnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("failed with seed {0}; to replay: STREWN_SEED={0} and the same command", self.0));
        }
    }
}

/// Whether this process is root, with the privileges of root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes nobody, for good. `/proc/self` stays readable, which the trackers need.
///
/// # Errors
/// If this process is neither root nor nobody.
pub fn become_nobody() -> nix::Result<()> {
    if Uid::effective().as_raw() == NOBODY {
        return Ok(());
    }
    nix::unistd::setgroups(&[])?;
    nix::unistd::setgid(Gid::from_raw(NOBODY))?;
    nix::unistd::setuid(Uid::from_raw(NOBODY))?;
    // SAFETY: PR_SET_DUMPABLE takes one number and touches no memory of this process.
    let refused = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    nix::errno::Errno::result(refused).map(|_| ())
}

/// Whether a program of this name can be run.
pub fn has_program(name: &str) -> bool {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Runs `command` to its end and returns what it printed on standard output.
///
/// # Panics
/// If it cannot be run, fails, or is killed; with what it printed.
pub fn stdout_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("run a child");
    assert!(output.status.success(), "{command:?}: {}", describe(&output));
    String::from_utf8(output.stdout).expect("children print text")
}

/// How a child ended and what it said.
pub fn describe(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status)
}

/// Whether suites are to run long: `STREWN_CRASH=long`.
pub fn is_long() -> bool {
    std::env::var("STREWN_CRASH").is_ok_and(|how| how == "long")
}
