//! userfaultfd, as far as write tracking needs it: asynchronous write-protection, registered range by range.
//!
//! In this mode the kernel resolves each protected write itself: no event is ever queued, nobody reads the descriptor.

use crate::base::{Error, Result};
use linux_raw_sys::{general as raw, ioctl};
use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// What tracking needs: writes resolved by the kernel, on shared memory, also on pages that are not there yet.
pub const FEATURES: &[(u64, &str)] = &[
    (raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP as u64, "PAGEFAULT_FLAG_WP"),
    (raw::UFFD_FEATURE_WP_HUGETLBFS_SHMEM as u64, "WP_HUGETLBFS_SHMEM"),
    (raw::UFFD_FEATURE_WP_UNPOPULATED as u64, "WP_UNPOPULATED"),
    (raw::UFFD_FEATURE_WP_ASYNC as u64, "WP_ASYNC"),
];

/// `UFFDIO_WRITEPROTECT_MODE_WP` of linux/userfaultfd.h.
const MODE_WP: u64 = 1;

/// A userfaultfd of this process in asynchronous write-protect mode. Closing it ends all its tracking.
pub struct Uffd {
    fd: OwnedFd,
}

impl Uffd {
    /// A new one with all of [`FEATURES`].
    ///
    /// # Errors
    /// If the kernel lacks userfaultfd or one of the features, or forbids it.
    pub fn new() -> Result<Self> {
        let uffd = Self { fd: descriptor()? };
        let wanted = FEATURES.iter().fold(0, |all, (bit, _)| all | bit);
        match uffd.handshake(wanted) {
            Ok(_) => Ok(uffd),
            Err(e) => Err(Error::os("userfaultfd: UFFDIO_API with asynchronous write-protect", e)),
        }
    }

    /// The features that the kernel offers.
    ///
    /// # Errors
    /// If there is no userfaultfd for this process.
    pub fn offered() -> Result<u64> {
        let uffd = Self { fd: descriptor()? };
        uffd.handshake(0).map_err(|e| Error::os("userfaultfd: UFFDIO_API", e))
    }

    /// Starts tracking `range`, nothing armed.
    ///
    /// # Errors
    /// If the range is not all mapped, or tracked by another userfaultfd.
    ///
    /// # Safety
    /// `range` lies in a shared mapping of a memfd of this process.
    pub unsafe fn register(&self, range: Range<u64>) -> Result<()> {
        let mut arg =
            raw::uffdio_register { range: raw_range(&range), mode: raw::UFFDIO_REGISTER_MODE_WP.into(), ioctls: 0 };
        // SAFETY: `arg` is what this request reads and writes. Registering for asynchronous write-protect changes no
        // byte of the memory and never stops a thread in it.
        unsafe { self.ioctl(ioctl::UFFDIO_REGISTER, &raw mut arg) }.map_err(|e| failed("UFFDIO_REGISTER", &range, e))
    }

    /// Arms every page of the registered `range`, also those that have no entry.
    ///
    /// # Errors
    /// If the range is not registered here, or memory for page tables runs out.
    pub fn protect(&self, range: Range<u64>) -> Result<()> {
        let mut arg = raw::uffdio_writeprotect { range: raw_range(&range), mode: MODE_WP };
        // SAFETY: `arg` is what this request reads. Arming changes no byte of the memory and stops no thread, because writes are resolved asynchronously.
        unsafe { self.ioctl(ioctl::UFFDIO_WRITEPROTECT, &raw mut arg) }
            .map_err(|e| failed("UFFDIO_WRITEPROTECT", &range, e))
    }

    /// Ends tracking of `range` and disarms it.
    ///
    /// # Errors
    /// If the range is not all mapped.
    pub fn unregister(&self, range: Range<u64>) -> Result<()> {
        let mut arg = raw_range(&range);
        // SAFETY: `arg` is what this request reads; it changes no byte of the memory.
        unsafe { self.ioctl(ioctl::UFFDIO_UNREGISTER, &raw mut arg) }
            .map_err(|e| failed("UFFDIO_UNREGISTER", &range, e))
    }

    /// Negotiates `features`; gives what the kernel offers.
    fn handshake(&self, features: u64) -> io::Result<u64> {
        let mut arg = raw::uffdio_api { api: raw::UFFD_API.into(), features, ioctls: 0 };
        // SAFETY: `arg` is what this request reads and writes.
        unsafe { self.ioctl(ioctl::UFFDIO_API, &raw mut arg) }?;
        Ok(arg.features)
    }

    /// # Safety
    /// `arg` points to what `request` reads and writes.
    unsafe fn ioctl<T>(&self, request: u32, arg: *mut T) -> io::Result<()> {
        loop {
            // SAFETY: the descriptor is open while `self` lives; the rest is this function's contract.
            if unsafe { libc::ioctl(self.fd.as_raw_fd(), request as _, arg) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) {
                return Err(error);
            }
        }
    }
}

fn descriptor() -> Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | raw::UFFD_USER_MODE_ONLY as i32;
    // SAFETY: the call takes flags alone.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        return Err(Error::last_os("userfaultfd(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)"));
    }
    // SAFETY: the call has just made `fd`, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn raw_range(range: &Range<u64>) -> raw::uffdio_range {
    raw::uffdio_range { start: range.start, len: range.end - range.start }
}

fn failed(call: &str, range: &Range<u64>, error: io::Error) -> Error {
    Error::os(format!("userfaultfd: {call} {:#x}..{:#x}", range.start, range.end), error)
}
