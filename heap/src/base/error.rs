//! The one public error type: a kind to match on, and every fact in the message.

use std::{fmt, io, path::Path, sync::Arc};

/// `std::result::Result` with strewn's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no heap at the path.
    NotFound,
    /// `create` found something at the path already.
    AlreadyExists,
    /// What is at the path is not a strewn heap.
    NotAHeap,
    /// The heap was written by a newer strewn, or uses a feature that this build does not know.
    UnsupportedVersion,
    /// Bytes on disk are not what was written. Nothing was changed.
    Corrupt,
    /// The operating system refused access.
    PermissionDenied,
    /// Another process, or this one, has the heap open.
    Locked,
    /// Something else is mapped where the heap must lie.
    AddressInUse,
    /// The disk (or quota) is full. Free some space and go on: nothing was lost.
    StorageFull,
    /// A write or sync failed earlier; no checkpoint is accepted until the heap is opened again.
    Poisoned,
    /// The operating system has no memory or address space for the request.
    OutOfMemory,
    /// The heap has no room for the request (all zones in use, or larger than a zone).
    HeapFull,
    /// A root holds a value of another type.
    RootType,
    /// A root is already borrowed in a conflicting way.
    RootBorrowed,
    /// The call would wait for the caller's own section to end, or the caller is inside a section of another heap.
    InSection,
    /// The call allocates in the heap of the section that the thread is inside, and it is inside none, or one of another heap.
    NotInSection,
    /// A section ended by a panic, and may have left half a change behind.
    SectionPanicked,
    /// The process was forked after the heap was opened; only the parent may use it.
    Forked,
    /// The kernel lacks a feature that the request needs.
    Unsupported,
    /// An argument is out of range.
    InvalidArgument,
    /// Any other failure of the operating system.
    Io,
}

/// An error of strewn: its [`kind`](Error::kind), and a message that names file, offset, address or value.
///
/// Cloning is cheap; one failure may be reported to several waiters.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// An error without an operating-system cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { kind, message: message.into(), source: None }) }
    }

    /// An operating-system error; `what` says which call on what. The kind follows from the error number.
    pub fn os(what: impl Into<String>, source: io::Error) -> Self {
        let kind = kind_of(&source);
        Self { inner: Arc::new(Inner { kind, message: what.into(), source: Some(source) }) }
    }

    /// Like [`Error::os`], for the call that just failed on this thread.
    pub fn last_os(what: impl Into<String>) -> Self {
        Self::os(what, io::Error::last_os_error())
    }

    /// Bytes at `offset` of `path` are not what was written.
    pub fn corrupt(path: &Path, offset: u64, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("{}: offset {offset:#x}: {why}", path.display()))
    }

    /// The same error with `context` before its message.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        let message = format!("{context}: {}", self.inner.message);
        let source = self.inner.source.as_ref().map(copy_io_error);
        Self { inner: Arc::new(Inner { kind: self.inner.kind, message, source }) }
    }

    /// The same error as another kind, where the caller knows better what the number means.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        let source = self.inner.source.as_ref().map(copy_io_error);
        Self { inner: Arc::new(Inner { kind, message: self.inner.message.clone(), source }) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The operating system's error number, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.inner.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

fn copy_io_error(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

fn kind_of(e: &io::Error) -> ErrorKind {
    match e.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::StorageFull,
        Some(libc::ENOMEM) => ErrorKind::OutOfMemory,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => ErrorKind::PermissionDenied,
        Some(libc::ENOENT) => ErrorKind::NotFound,
        Some(libc::EEXIST | libc::ENOTEMPTY) => ErrorKind::AlreadyExists,
        Some(libc::ENOTDIR) => ErrorKind::NotAHeap,
        _ => match e.kind() {
            io::ErrorKind::StorageFull => ErrorKind::StorageFull,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        },
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        match &self.inner.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.inner.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|e| e as _)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_error_number_and_facts_stay() {
        let e = Error::os("write 512 bytes at 0x200 of log-0", io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(e.kind(), ErrorKind::StorageFull);
        let e = e.context("checkpoint 7");
        assert_eq!(e.raw_os_error(), Some(libc::ENOSPC));
        let text = e.to_string();
        assert!(text.starts_with("checkpoint 7: write 512 bytes at 0x200 of log-0: No space left"), "{text}");
    }
}
