//! Workers that say what is durable, and the check that it is: for suites that take the disk away below them.
//!
//! What a worker said before a moment is a promise for all that is found of that moment. Whoever uses this notes the promise *before* the moment.

use crate::bank::Bank;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strewn::{ErrorKind, TrackerKind};

/// Much longer than any worker takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a worker has promised.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// The heap exists.
    pub open: bool,
    /// The last generation acknowledged.
    pub generation: u64,
    /// How many were.
    pub checkpoints: u64,
    /// Folds up to then.
    pub folds: u64,
    /// Why the worker stopped.
    pub failed: Option<String>,
}

impl Promise {
    /// Takes in a line that a worker wrote.
    ///
    /// # Panics
    /// If no worker writes such a line.
    pub fn hear(&mut self, line: &str) {
        let number = |text: &str| -> u64 { text.parse().unwrap_or_else(|_| panic!("the worker said {line:?}")) };
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["open"] => self.open = true,
            ["durable", generation, folds] => {
                (self.generation, self.folds) = (number(generation), number(folds));
                self.checkpoints += 1;
            }
            ["failed", ..] => self.failed = Some(line.to_owned()),
            _ => panic!("the worker said {line:?}"),
        }
    }
}

/// Gives each whole line of `from` to `hear`, until it ends. What a kill cut off is left out.
pub fn read_lines(from: impl Read, mut hear: impl FnMut(&str)) {
    let mut from = BufReader::new(from);
    let mut line = String::new();
    while from.read_line(&mut line).is_ok_and(|len| len > 0) {
        let Some(whole) = line.strip_suffix('\n') else { return };
        hear(whole.trim_end_matches('\r'));
        line.clear();
    }
}

/// Has the kernel kill what `command` starts when the calling thread ends, whatever ends it.
pub fn end_with_this_thread(command: &mut Command) {
    let ask = || {
        // SAFETY: PR_SET_PDEATHSIG takes one number, touches no memory, and takes no locks.
        let refused = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

/// A running worker; killed when dropped.
pub struct Worker {
    child: Child,
    promise: Arc<Mutex<Promise>>,
    reader: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `program`, which is `strewn-disk-worker`, on the heap at `path`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(program: &str, path: &Path, tracker: TrackerKind, seed: u64) -> Self {
        let mut command = Command::new(program);
        command.arg(path).arg(tracker.to_string()).arg(seed.to_string());
        end_with_this_thread(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("start a worker");
        let out = child.stdout.take().expect("a pipe");
        let promise = Arc::new(Mutex::new(Promise::default()));
        let shared = Arc::clone(&promise);
        let reader = std::thread::spawn(move || read_lines(out, |line| lock(&shared).hear(line)));
        Self { child, promise, reader: Some(reader) }
    }

    /// What it has promised up to now.
    pub fn promise(&self) -> Promise {
        lock(&self.promise).clone()
    }

    /// Waits until it has promised that many checkpoints.
    ///
    /// # Panics
    /// If that takes very long, or the worker fails.
    pub fn wait_for(&self, checkpoints: u64) {
        let start = Instant::now();
        loop {
            let promise = self.promise();
            if promise.open && promise.checkpoints >= checkpoints {
                return;
            }
            assert!(promise.failed.is_none() && start.elapsed() < PATIENCE, "waiting for a worker: {promise:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it, and returns all that it promised.
    ///
    /// # Panics
    /// If it ended with a panic or a signal before.
    pub fn kill(mut self) -> Promise {
        let ended = self.child.try_wait().expect("a child's state");
        self.end();
        let promise = self.promise();
        let by_itself = ended.is_none_or(|status| status.code() == Some(1) && promise.failed.is_some());
        assert!(by_itself, "a worker ended by itself: {ended:?}, {promise:?}");
        promise
    }

    fn end(&mut self) {
        // It may have ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // It panics if the worker said nonsense; then there is a panic already, or `kill` finds too little promised.
            let _ = reader.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(promise: &Mutex<Promise>) -> MutexGuard<'_, Promise> {
    promise.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the heap at `path`, checks everything in it, and that it keeps `promise`. Returns the generation that it is at.
///
/// # Errors
/// What is wrong.
pub fn look(path: &Path, tracker: TrackerKind, promise: &Promise, close: bool) -> Result<u64, String> {
    let context =
        |what: &dyn std::fmt::Display| format!("{} ({tracker}): {what}; promised was {promise:?}", path.display());
    let heap = match strewn::Heap::options().tracker(tracker).open(path) {
        Ok(heap) => heap,
        Err(e) if e.kind() == ErrorKind::NotFound && !promise.open => return Ok(0),
        Err(e) => return Err(context(&e)),
    };
    let found = Bank::verify(&heap).map_err(|what| context(&what))?;
    if found.generation < promise.generation {
        return Err(context(&format!("generation {} is all that is left", found.generation)));
    }
    if close {
        heap.close().map_err(|e| context(&e))?;
    }
    Ok(found.generation)
}
