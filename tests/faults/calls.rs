//! Which calls there are, and which faults a real system has for each.

use nix::errno::Errno;
use strewn_tests::inject::{Action, Call, Kind};

/// What cannot fail, or what nobody can do anything about; or what is the harness's own (`write`, to standard output).
pub const HARMLESS: &[Kind] = &[
    (libc::SYS_write, None),
    (libc::SYS_futex, None),
    (libc::SYS_exit, None),
    (libc::SYS_exit_group, None),
    (libc::SYS_execve, None),
    (libc::SYS_restart_syscall, None),
    (libc::SYS_rt_sigreturn, None),
    (libc::SYS_rt_sigaction, None),
    (libc::SYS_rt_sigprocmask, None),
    (libc::SYS_sigaltstack, None),
    (libc::SYS_sched_yield, None),
    (libc::SYS_clock_nanosleep, None),
    (libc::SYS_set_robust_list, None),
    (libc::SYS_rseq, None),
    (libc::SYS_gettid, None),
    (libc::SYS_getpid, None),
    (libc::SYS_prctl, None),
    (libc::SYS_prlimit64, None),
    (libc::SYS_sched_getaffinity, None),
    // The C library reads the answer as the new end of its memory; `mmap` stands for it.
    (libc::SYS_brk, None),
    // The descriptor is closed whatever the answer is, and Rust does not look at it.
    (libc::SYS_close, None),
    // Rust asks whether a descriptor is open before it closes it.
    (libc::SYS_fcntl, Some((1, libc::F_GETFD as u32))),
];

/// What a fault asks of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: it is to go on as if nothing had happened.
    Transient,
    /// There is no room: of disk, memory, or descriptors.
    Room,
    /// The device or the kernel refuses.
    Hard,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it asks of the program.
    pub class: Class,
    /// What is done to the call.
    pub action: Action,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.action {
            Action::Fail(error) => write!(f, "{:?}", Errno::from_raw(error)),
            Action::FailAfter(error) => write!(f, "{:?} after it was made", Errno::from_raw(error)),
            action => write!(f, "{action:?}"),
        }
    }
}

/// What a call does to what.
pub fn describe(call: &Call) -> String {
    let [first, second, third, ..] = call.arguments;
    match call.number {
        libc::SYS_openat | libc::SYS_mkdirat | libc::SYS_unlinkat | libc::SYS_newfstatat | libc::SYS_statx
            if first as i32 == libc::AT_FDCWD =>
        {
            format!("{} {}", name(call.number), call.text(1))
        }
        libc::SYS_mkdir | libc::SYS_rmdir | libc::SYS_unlink | libc::SYS_open | libc::SYS_rename => {
            format!("{} {}", name(call.number), call.text(0))
        }
        libc::SYS_renameat2 => format!("renameat2 {}", call.text(1)),
        libc::SYS_mmap | libc::SYS_munmap | libc::SYS_mprotect | libc::SYS_mremap | libc::SYS_madvise => {
            format!("{} of {second:#x} bytes at {first:#x} ({third:#x})", name(call.number))
        }
        libc::SYS_ioctl => format!("ioctl {second:#x} of {}", call.file_of(first)),
        libc::SYS_clone3 | libc::SYS_getrandom | libc::SYS_userfaultfd | libc::SYS_memfd_create => {
            name(call.number).to_owned()
        }
        _ => format!("{} of {third:#x} bytes of {}", name(call.number), call.file_of(first)),
    }
}

/// The name of a call that stops.
///
/// # Panics
/// If it is not known: then it is to be said here what faults it can have.
pub fn name(number: i64) -> &'static str {
    match number {
        libc::SYS_open => "open",
        libc::SYS_openat => "openat",
        libc::SYS_read => "read",
        libc::SYS_pread64 => "pread64",
        libc::SYS_pwrite64 => "pwrite64",
        libc::SYS_fdatasync => "fdatasync",
        libc::SYS_fsync => "fsync",
        libc::SYS_fallocate => "fallocate",
        libc::SYS_ftruncate => "ftruncate",
        libc::SYS_lseek => "lseek",
        libc::SYS_statx => "statx",
        libc::SYS_fstat => "fstat",
        libc::SYS_newfstatat => "newfstatat",
        libc::SYS_mkdir => "mkdir",
        libc::SYS_mkdirat => "mkdirat",
        libc::SYS_rmdir => "rmdir",
        libc::SYS_unlink => "unlink",
        libc::SYS_unlinkat => "unlinkat",
        libc::SYS_rename => "rename",
        libc::SYS_renameat2 => "renameat2",
        libc::SYS_fcntl => "fcntl",
        libc::SYS_ioctl => "ioctl",
        libc::SYS_mmap => "mmap",
        libc::SYS_mremap => "mremap",
        libc::SYS_munmap => "munmap",
        libc::SYS_mprotect => "mprotect",
        libc::SYS_madvise => "madvise",
        libc::SYS_memfd_create => "memfd_create",
        libc::SYS_userfaultfd => "userfaultfd",
        libc::SYS_clone => "clone",
        libc::SYS_clone3 => "clone3",
        libc::SYS_getrandom => "getrandom",
        _ => {
            panic!("the workload makes a call that this suite does not know, number {number}: what faults can it have?")
        }
    }
}

const fn transient(error: i32) -> Fault {
    Fault { class: Class::Transient, action: Action::Fail(error) }
}

const fn room(error: i32) -> Fault {
    Fault { class: Class::Room, action: Action::Fail(error) }
}

const fn hard(error: i32) -> Fault {
    Fault { class: Class::Hard, action: Action::Fail(error) }
}

/// The errors that a real system may give for a call, by its name and by what it is made on.
pub fn faults(call: &Call) -> Vec<Fault> {
    use libc::{EAGAIN, EDQUOT, EINTR, EINVAL, EIO, EMFILE, ENFILE, ENOLCK, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM};
    let name = name(call.number);
    let in_memory = || call.file_of(call.arguments[0]).starts_with("/memfd:");
    let mut faults = match name {
        "open" | "openat" if call.text(1).starts_with("/proc/") => vec![room(EMFILE), room(ENFILE), room(ENOMEM)],
        "open" | "openat" => vec![room(EMFILE), room(ENFILE), room(ENOMEM), hard(EIO), transient(EINTR)],
        "read" | "pread64" => vec![hard(EIO), transient(EINTR)],
        "pwrite64" if in_memory() => vec![room(ENOSPC), room(ENOMEM), transient(EINTR)],
        "pwrite64" => vec![hard(EIO), room(ENOSPC), room(EDQUOT), transient(EINTR)],
        "fdatasync" | "fsync" => {
            vec![
                hard(EIO),
                room(ENOSPC),
                Fault { class: Class::Hard, action: Action::FailAfter(EIO) },
                transient(EINTR),
            ]
        }
        "fallocate" if in_memory() => vec![room(ENOMEM), hard(EPERM), transient(EINTR)],
        "fallocate" => vec![room(ENOSPC), hard(EIO), transient(EINTR), transient(EOPNOTSUPP)],
        "ftruncate" if in_memory() => vec![room(ENOMEM), transient(EINTR)],
        "ftruncate" => vec![hard(EIO), transient(EINTR)],
        "lseek" if in_memory() => vec![],
        "lseek" => vec![hard(EIO), transient(EINVAL)],
        "statx" | "fstat" | "newfstatat" => vec![hard(EIO), room(ENOMEM)],
        "mkdir" | "mkdirat" | "unlink" | "unlinkat" | "rmdir" | "rename" => vec![room(ENOSPC), room(ENOMEM), hard(EIO)],
        "renameat2" => vec![room(ENOSPC), hard(EIO), transient(EINVAL)],
        "fcntl" => vec![room(ENOLCK)],
        "ioctl" => vec![room(ENOMEM)],
        "mmap" | "mremap" | "mprotect" => vec![room(ENOMEM)],
        "munmap" => vec![room(ENOMEM)],
        "madvise" => advice_faults(call.arguments[2] as i32),
        "memfd_create" => vec![room(EMFILE), room(ENFILE), room(ENOMEM), transient(EINVAL)],
        "userfaultfd" => vec![room(EMFILE), room(ENFILE), room(ENOMEM)],
        "clone" | "clone3" => vec![room(EAGAIN), room(ENOMEM)],
        "getrandom" => vec![transient(EINTR)],
        _ => unreachable!("every name has its faults: {name}"),
    };
    if name == "ioctl" {
        let of_uffd = call.file_of(call.arguments[0]).contains("userfaultfd");
        // A scan that fails may have armed pages that it does not tell of.
        let armed = Fault { class: Class::Hard, action: Action::FailAfter(ENOMEM) };
        faults.extend(if of_uffd { vec![transient(EAGAIN), transient(EINTR)] } else { vec![hard(EINTR), armed] });
    }
    let length = call.arguments[2];
    if ["read", "pread64", "pwrite64"].contains(&name) && length > 1 {
        let shorter = |bytes| Fault { class: Class::Transient, action: Action::Shorten(bytes) };
        faults.extend([shorter(length / 2), shorter(1)]);
    }
    faults
}

fn advice_faults(advice: i32) -> Vec<Fault> {
    use libc::{EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM};
    match advice {
        // An older kernel does not know the advice; the C library uses the first one to give memory back.
        libc::MADV_DONTNEED => vec![room(ENOMEM), room(EAGAIN)],
        libc::MADV_POPULATE_READ => vec![room(ENOMEM), transient(EINVAL), transient(EINTR), transient(EAGAIN)],
        libc::MADV_COLLAPSE => vec![transient(ENOMEM), transient(EINVAL), transient(EBUSY), transient(EAGAIN)],
        libc::MADV_HUGEPAGE | libc::MADV_NOHUGEPAGE => vec![room(ENOMEM), transient(EINVAL)],
        _ => vec![room(ENOMEM), room(EAGAIN)],
    }
}
