//! [`LazyBytes`]: zeroed memory of this process alone, backed page by page where it is written.
//!
//! It must not know what the bytes mean.

use super::fork::{fork_generation, same_process};
use super::{limits, pages::advise};
use crate::base::{Error, PAGE, Result};
use std::{ffi::c_void, ptr::NonNull};

/// See the module. Gone when it is dropped; no part of a forked child.
#[derive(Debug)]
pub struct LazyBytes {
    base: NonNull<u8>,
    reserved: usize,
    generation: u32,
}

// SAFETY: it owns its mapping, and hands out nothing but its address.
unsafe impl Send for LazyBytes {}
// SAFETY: as above.
unsafe impl Sync for LazyBytes {}

impl LazyBytes {
    /// Takes `reserved` bytes of address space, of which the first `usable` can be read and written. They start on a page; whoever touches the others is
    /// ended by the system.
    ///
    /// # Errors
    /// If a limit refuses; the message names it.
    ///
    /// # Panics
    /// If these are not whole pages, or more are usable than there are.
    pub fn new(usable: usize, reserved: usize) -> Result<Self> {
        assert!(usable <= reserved && usable.is_multiple_of(PAGE) && reserved.is_multiple_of(PAGE) && reserved > 0);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses a free address; nothing else changes.
        let got = unsafe { libc::mmap(std::ptr::null_mut(), reserved, libc::PROT_NONE, flags, -1, 0) };
        let refused = |call: &str| {
            let error = Error::last_os(format!("{call}: {reserved:#x} bytes for marks"));
            limits::explain(error, reserved as u64)
        };
        if got == libc::MAP_FAILED {
            return Err(refused("mmap"));
        }
        let base = NonNull::new(got.cast()).expect("a mapping that succeeded");
        let memory = Self { base, reserved, generation: fork_generation() };
        // SAFETY: the pages are those that mmap has just made, and nobody else knows of them. Only what is used counts where the system promises no more memory
        // than it has.
        if unsafe { libc::mprotect(got, usable, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(refused("mprotect"));
        }
        let start = got.expose_provenance() as u64;
        let range = start..start + reserved as u64;
        // SAFETY: what a forked child inherits, and the size of pages, change nothing here.
        unsafe {
            advise(range.clone(), libc::MADV_DONTFORK, "MADV_DONTFORK")?;
            // Else a mark could cost 2 MiB. A kernel without huge pages refuses the advice, and needs none.
            let _ = advise(range, libc::MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
        }
        Ok(memory)
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for LazyBytes {
    fn drop(&mut self) {
        if same_process(self.generation).is_ok() {
            // SAFETY: the mapping is ours since `new`, and whoever was given its address uses it no longer. In a forked child it is not there.
            unsafe { libc::munmap(self.base.as_ptr().cast::<c_void>(), self.reserved) };
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_zeros_that_can_be_written() {
        let memory = LazyBytes::new(4 * PAGE, 64 * PAGE).unwrap();
        for at in [0, 1, PAGE, 4 * PAGE - 1] {
            // SAFETY: within the usable bytes, which nobody else knows.
            unsafe {
                let byte = memory.base().add(at);
                assert_eq!(byte.read(), 0);
                byte.write(at as u8 | 1);
                assert_eq!(byte.read(), at as u8 | 1);
            }
        }
    }

    #[test]
    fn a_refusal_says_how_much_was_asked_for() {
        let refused = LazyBytes::new(PAGE, 1 << 60).unwrap_err();
        assert!(refused.to_string().contains("0x1000000000000000 bytes"), "{refused}");
    }
}
