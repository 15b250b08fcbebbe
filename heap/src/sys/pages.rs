//! The small calls on memory that do not need to know whose it is: pointer from address, advice, protection, fresh memory.

use super::limits;
use crate::base::{Error, PAGE, Result};
use std::{
    fs::File,
    io,
    ops::Range,
    os::fd::{AsRawFd, FromRawFd},
};

/// The pointer for a heap address.
#[inline]
pub fn ptr(addr: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(addr as usize)
}

/// Gives the kernel an advice on `range`, called `name` in errors.
///
/// # Errors
/// If the kernel does not take it.
///
/// # Safety
/// The advice leaves the contents and the protection of what is mapped at `range` as they are.
pub unsafe fn advise(range: Range<u64>, advice: i32, name: &str) -> Result<()> {
    let len = (range.end - range.start) as usize;
    // SAFETY: by this function's contract no memory that anybody uses changes.
    if unsafe { libc::madvise(ptr(range.start).cast(), len, advice) } == 0 {
        return Ok(());
    }
    Err(Error::last_os(format!("madvise {name} of {:#x}..{:#x}", range.start, range.end)))
}

/// How often memory is unmapped while the kernel has no memory to do it.
const UNMAP_ATTEMPTS: u32 = 3;

/// Unmaps `range`. The kernel needs memory for it: if there is none, it stays, and a heap that lies there cannot be opened again in this process.
///
/// # Safety
/// What is mapped there is the caller's, and nobody uses it any more.
pub unsafe fn unmap(range: Range<u64>) {
    let len = (range.end - range.start) as usize;
    // SAFETY: by this function's contract.
    (0..UNMAP_ATTEMPTS).find(|_| unsafe { libc::munmap(ptr(range.start).cast(), len) } == 0);
}

/// What a fault on a page that is in memory maps around it, by the kernel's default.
pub const FAULT_AROUND_BYTES: u64 = 64 << 10;

/// Reads the byte at `byte` of the first page of `range`, and then of the page at each multiple of `step`, so that they are mapped; with steps of
/// [`FAULT_AROUND_BYTES`], the pages around them as well.
///
/// # Safety
/// The range is mapped readable, to a file of ours, and nobody writes these bytes meanwhile.
pub unsafe fn touch(range: Range<u64>, step: u64, byte: usize) {
    debug_assert!(byte < PAGE && range.start.is_multiple_of(PAGE as u64));
    let mut at = range.start;
    while at < range.end {
        // SAFETY: by this function's contract; every byte of a memfd is initialised. Volatile, so that the read happens.
        unsafe { ptr(at + byte as u64).read_volatile() };
        at = (at + 1).next_multiple_of(step);
    }
}

/// A sparse file in memory, without a name.
///
/// # Errors
/// If the operating system refuses.
pub fn memfd() -> Result<File> {
    let mut flags = libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL;
    loop {
        // SAFETY: the name is a C string literal; the flags ask for nothing but a new descriptor.
        let fd = unsafe { libc::memfd_create(c"strewn".as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: memfd_create has just made `fd`, so nobody else owns it.
            return Ok(unsafe { File::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        // Linux before 6.3 does not know the flag.
        if error.raw_os_error() != Some(libc::EINVAL) || flags & libc::MFD_NOEXEC_SEAL == 0 {
            return Err(Error::os("memfd_create \"strewn\"", error));
        }
        flags &= !libc::MFD_NOEXEC_SEAL;
    }
}

/// Makes `range` writable or read-only. Safe in a signal handler: one system call, the error as a number.
///
/// # Safety
/// `range` is page-aligned and lies in lanes of mapped zones; nobody counts on its protection but the signal tracker.
pub unsafe fn protect(range: Range<u64>, writable: bool) -> Result<(), i32> {
    debug_assert!(range.start.is_multiple_of(PAGE as u64) && range.end.is_multiple_of(PAGE as u64));
    let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let len = (range.end - range.start) as usize;
    // SAFETY: by this function's contract the range is heap memory, whose contents mprotect does not change, and a
    // thread that now faults in it is served by the tracker's handler.
    match unsafe { libc::mprotect(ptr(range.start).cast(), len, access) } {
        0 => Ok(()),
        // SAFETY: the address of errno is valid in every thread.
        _ => Err(unsafe { *libc::__errno_location() }),
    }
}

/// Zeroed words that live as long as the process and are backed only where they are written. Of std: `marks.rs` makes its own in models.
///
/// # Errors
/// If the operating system has no address space for them.
#[cfg(not(any(loom, shuttle)))]
pub fn lazy_words(words: usize) -> Result<&'static [std::sync::atomic::AtomicU64]> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let bytes = words * 8;
    // SAFETY: the kernel chooses a free address; nothing else changes.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        let error = Error::last_os(format!("mmap: {bytes:#x} bytes for page marks"));
        return Err(limits::explain(error, bytes as u64));
    }
    // SAFETY: the mapping holds `words` zeroed, page-aligned words, valid atomics; it is never unmapped, and only this
    // slice refers to it.
    Ok(unsafe { std::slice::from_raw_parts(base.cast(), words) })
}

/// One shared page of a memfd outside every window, to try the kernel's features on.
pub struct ScratchPage {
    base: *mut u8,
}

impl ScratchPage {
    /// A page of zeroes.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn new() -> Result<Self> {
        let file = memfd()?;
        limits::check_file_size(PAGE as u64, "a page of a memfd")?;
        file.set_len(PAGE as u64).map_err(|e| Error::os("ftruncate memfd to a page", e))?;
        let (access, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: the kernel chooses a free address; the memfd is as long as the mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(limits::explain(Error::last_os("mmap: a page of a memfd"), PAGE as u64));
        }
        Ok(Self { base: base.cast() })
    }

    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        let start = self.base.addr() as u64;
        start..start + PAGE as u64
    }

    /// Writes to it.
    pub fn write(&self) {
        // SAFETY: the page is mapped writable while `self` lives, and only `self` points to it.
        unsafe { self.base.write_volatile(1) };
    }
}

impl Drop for ScratchPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody else points into it.
        unsafe { libc::munmap(self.base.cast(), PAGE) };
    }
}
