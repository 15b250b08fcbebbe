//! A process whose system calls are counted, and one of them interfered with: by ptrace, on x86-64.
//!
//! Calls of all threads are counted together, between two marks that the process makes ([`mark`]), so that a position means one single call. A seccomp filter
//! (`filter`) stops the process at those that can fail; all others run at full speed. Each call that stops is shown to a function, which says what
//! becomes of it ([`Action`]).
//!
//! Must not: know which errors a call can have, or what the process does.

#[path = "inject/filter.rs"]
mod filter;

pub use filter::Kind;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The first argument of a `prctl` that the kernel refuses, and that means a mark here.
const MARK: u32 = 0x5354_524e;

/// Begins a phase, by its number, of the stretch in which calls are counted; 0 ends it. Nothing happens in a process that nobody traces.
pub fn mark(phase: u64) {
    // SAFETY: there is no such option, so that the call is refused and touches nothing.
    unsafe { libc::prctl(MARK as libc::c_int, phase as libc::c_ulong) };
}

/// What every traced thread is traced with.
const OPTIONS: Options = Options::PTRACE_O_TRACESECCOMP
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACESYSGOOD)
    .union(Options::PTRACE_O_EXITKILL);
/// `PTRACE_O_SUSPEND_SECCOMP` of linux/ptrace.h: the thread stops at no call any more. Takes privileges.
const UNFILTERED: Options = Options::from_bits_retain(1 << 21);

/// A call that is about to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
    /// How many were made before it since the mark, by all threads.
    pub position: u64,
    /// The phase that the process was in.
    pub phase: u64,
    /// The thread that makes it.
    thread: Pid,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Pass,
    /// It is not made, and fails with this error number.
    Fail(i32),
    /// It is made, and fails with this error number all the same.
    FailAfter(i32),
    /// It is made, for this many bytes: its third argument.
    Shorten(u64),
    /// The process is killed instead.
    KillBefore,
    /// The process is killed as soon as it was made.
    KillAfter,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; an error if it was killed by a signal.
    pub status: Result<i32, Signal>,
    /// What it printed.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// The calls it made between the marks that can fail, until one was interfered with.
    pub calls: u64,
    /// It took longer than it may, and was killed for it.
    pub hung: bool,
}

impl Call {
    /// The file that descriptor `fd` of the process means, or what the kernel calls it.
    pub fn file_of(&self, fd: u64) -> String {
        let link = format!("/proc/{}/fd/{}", self.thread, fd as i32);
        std::fs::read_link(link).map_or_else(|_| format!("descriptor {}", fd as i32), |path| path.display().to_string())
    }

    /// The C string that argument `i` points to.
    pub fn text(&self, i: usize) -> String {
        let mut bytes = [0; 256];
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.thread));
        let read = memory.and_then(|memory| memory.read_at(&mut bytes, self.arguments[i])).unwrap_or(0);
        let text = bytes[..read].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// Whether processes can be traced here; if not, why.
///
/// # Errors
/// Why not.
pub fn possible(harmless: &[Kind]) -> Result<(), String> {
    let mut command = Command::new("/bin/true");
    match run(&mut command, harmless, Duration::from_secs(20), &mut |_| Action::Pass) {
        Ok(ended) if ended.status == Ok(0) => Ok(()),
        Ok(ended) => Err(format!("a traced process ended with {:?}", ended.status)),
        Err(e) => Err(format!("ptrace or seccomp: {e}")),
    }
}

/// Runs `command` to its end. Until one call is interfered with, asks `on_call` about each call between the marks that is not of a `harmless` kind.
///
/// # Errors
/// If the process cannot be started or traced.
pub fn run(
    command: &mut Command,
    harmless: &[Kind],
    limit: Duration,
    on_call: &mut dyn FnMut(&Call) -> Action,
) -> io::Result<Ended> {
    let filter = filter::stopping_but_at(harmless, (libc::SYS_prctl, Some((0, MARK))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let prepare = move || {
        ptrace::traceme()?;
        filter::install(&filter)
    };
    // SAFETY: between fork and exec this makes system calls alone, with memory that was there before.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    let main = Pid::from_raw(child.id() as i32);
    let (tell, told) = channel::<()>();
    let hung = &AtomicBool::new(false);
    let mut tracer = Tracer { main, phase: 0, calls: 0, interfered: false, killing: false, pending: None, on_call };
    let status = std::thread::scope(|scope| {
        scope.spawn(move || {
            if told.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // Relaxed: read after this thread was joined.
                hung.store(true, Ordering::Relaxed);
                // It may have ended just now.
                let _ = kill(main, Signal::SIGKILL);
            }
        });
        let status = tracer.follow();
        drop(tell);
        status
    })?;
    let (stdout, stderr) = output_of(child)?;
    Ok(Ended { status, stdout, stderr, calls: tracer.calls, hung: hung.load(Ordering::Relaxed) })
}

/// What a process printed that has ended and been waited for.
fn output_of(mut child: Child) -> io::Result<(String, String)> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut out))?;
    child.stderr.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut err))?;
    Ok((String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned()))
}

struct Tracer<'a> {
    main: Pid,
    phase: u64,
    calls: u64,
    /// One call is enough, and the others are of no interest from then on.
    interfered: bool,
    killing: bool,
    /// The thread that is in a call whose end is waited for, and what is to happen then.
    pending: Option<(Pid, Action)>,
    on_call: &'a mut dyn FnMut(&Call) -> Action,
}

impl Tracer<'_> {
    /// Follows the process and its threads to their end. The threads of other processes that this one started are none of it: each
    /// thread here waits for its own tracees.
    fn follow(&mut self) -> io::Result<Result<i32, Signal>> {
        let mut status = Err(Signal::SIGKILL);
        let mut begun = false;
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) if !begun && pid == self.main => {
                    begun = true;
                    ptrace::setoptions(pid, OPTIONS)?;
                    go_on(pid, None)?;
                }
                Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_SECCOMP)) => self.at_call(pid)?,
                Ok(WaitStatus::PtraceSyscall(pid)) => self.after_call(pid)?,
                // A call that makes a thread stops once more before its end.
                Ok(WaitStatus::PtraceEvent(pid, ..)) if self.pending.is_some_and(|(pending, _)| pending == pid) => {
                    alive(ptrace::syscall(pid, None))?;
                }
                // A thread that was just born stops like this.
                Ok(WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, Signal::SIGSTOP)) => go_on(pid, None)?,
                Ok(WaitStatus::Stopped(pid, signal)) => go_on(pid, Some(signal))?,
                Ok(WaitStatus::Exited(pid, code)) if pid == self.main => status = Ok(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.main => status = Err(signal),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(status),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn at_call(&mut self, thread: Pid) -> io::Result<()> {
        let Some(mut registers) = alive(ptrace::getregs(thread))? else { return Ok(()) };
        let number = registers.orig_rax as i64;
        if number == libc::SYS_prctl && registers.rdi as u32 == MARK {
            self.phase = registers.rsi;
            return go_on(thread, None);
        }
        if self.phase == 0 || self.killing {
            return go_on(thread, None);
        }
        if self.interfered {
            // One more stop for each thread instead of one for each call; if that is not permitted, it only takes longer.
            let _ = ptrace::setoptions(thread, OPTIONS | UNFILTERED);
            return go_on(thread, None);
        }
        let position = self.calls;
        self.calls += 1;
        let r = &registers;
        let call =
            Call { number, arguments: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9], position, phase: self.phase, thread };
        let action = (self.on_call)(&call);
        self.interfered = action != Action::Pass;
        match action {
            Action::Pass => {}
            Action::Fail(error) => {
                registers.orig_rax = u64::MAX;
                registers.rax = i64::from(-error) as u64;
                alive(ptrace::setregs(thread, registers))?;
            }
            Action::Shorten(bytes) => {
                registers.rdx = bytes;
                alive(ptrace::setregs(thread, registers))?;
            }
            Action::KillBefore => return self.kill(),
            Action::FailAfter(_) | Action::KillAfter => {
                self.pending = Some((thread, action));
                return alive(ptrace::syscall(thread, None)).map(|_| ());
            }
        }
        go_on(thread, None)
    }

    fn after_call(&mut self, thread: Pid) -> io::Result<()> {
        match self.pending.take_if(|(pending, _)| *pending == thread) {
            Some((_, Action::KillAfter)) => return self.kill(),
            Some((_, Action::FailAfter(error))) => {
                if let Some(mut registers) = alive(ptrace::getregs(thread))? {
                    registers.rax = i64::from(-error) as u64;
                    alive(ptrace::setregs(thread, registers))?;
                }
            }
            _ => {}
        }
        go_on(thread, None)
    }

    /// Kills the process with all its threads, wherever they are.
    fn kill(&mut self) -> io::Result<()> {
        self.killing = true;
        Ok(kill(self.main, Signal::SIGKILL)?)
    }
}

/// Nothing if the thread was killed meanwhile.
fn alive<T>(outcome: nix::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ESRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn go_on(thread: Pid, signal: Option<Signal>) -> io::Result<()> {
    alive(ptrace::cont(thread, signal)).map(|_| ())
}
