//! [`LazyBytes`]: zeroed memory of this process alone, backed page by page where it is written. And [`mark`]: some of it lies where an address says, so that
//! finding it takes two instructions.
//!
//! It must not know what the bytes mean.

use super::fork::{fork_generation, same_process};
use super::limits;
use super::pages::{advise, unmap};
use crate::base::{END_ZONE, Error, FIRST_ZONE, PAGE, PAGE_SHIFT, Result, ZONE_SHIFT, ZoneNumber};
use std::{ffi::c_void, io, ptr::NonNull};

/// Where the mark of address 0 would be. Those of the zones come to lie between the shadow of AddressSanitizer and the first zone.
const MARKS: u64 = 0x10A0_0000_0000;
/// Bytes from the marks of a zone to those of the next: one for each page of its window.
const STRETCH: u64 = 1 << (ZONE_SHIFT - PAGE_SHIFT);

const _: () = assert!(MARKS + END_ZONE as u64 * STRETCH <= (FIRST_ZONE as u64) << ZONE_SHIFT);
const _: () = assert!(MARKS + FIRST_ZONE as u64 * STRETCH >= 0x1000_7FFF_8000);

/// The mark of the page at `addr`, where [`LazyBytes::marks`] has made those of its zone.
#[inline]
pub fn mark(addr: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut((MARKS + (addr >> PAGE_SHIFT)) as usize)
}

/// See the module. Gone when it is dropped; no part of a forked child.
#[derive(Debug)]
pub struct LazyBytes {
    base: NonNull<u8>,
    reserved: usize,
    /// Whether the usable bytes can be written.
    is_writable: bool,
    generation: u32,
}

// SAFETY: it owns its mapping, and hands out nothing but its address.
unsafe impl Send for LazyBytes {}
// SAFETY: as above.
unsafe impl Sync for LazyBytes {}

impl LazyBytes {
    /// `bytes` bytes, anywhere. They start on a page.
    ///
    /// # Errors
    /// If a limit refuses; the message names it.
    ///
    /// # Panics
    /// If these are not whole pages.
    pub fn new(bytes: usize) -> Result<Self> {
        Self::map(None, bytes, bytes)
    }

    /// The marks of zone `number`, where [`mark`] finds them. The first `usable` can be written, unless the system refuses ([`LazyBytes::is_writable`]); the others read as zero, and
    /// whoever writes them is ended by the system.
    ///
    /// # Errors
    /// `AddressInUse` if something else is mapped there; the message names it. If a limit refuses.
    ///
    /// # Panics
    /// If these are not whole pages, or more than there are.
    pub(super) fn marks(number: ZoneNumber, usable: usize) -> Result<Self> {
        let start = MARKS + u64::from(number.0) * STRETCH;
        let memory = Self::map(Some(start), usable, STRETCH as usize)?;
        if number.0 % 2 == 1 {
            // Else those of two zones could become one mapping, of which a part cannot be unmapped where mappings are scarce.
            // SAFETY: how the system reads ahead changes nothing here, where it reads nothing.
            unsafe { advise(start..start + STRETCH, libc::MADV_RANDOM, "MADV_RANDOM")? };
        }
        Ok(memory)
    }

    fn map(at: Option<u64>, usable: usize, reserved: usize) -> Result<Self> {
        assert!(usable <= reserved && usable.is_multiple_of(PAGE) && reserved.is_multiple_of(PAGE) && reserved > 0);
        let fixed = if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
        let want = std::ptr::without_provenance_mut::<c_void>(at.unwrap_or(0) as usize);
        // SAFETY: the kernel chooses a free address, or takes the one that is asked for if it is free; nothing else changes.
        let got = unsafe { libc::mmap(want, reserved, libc::PROT_READ, flags, -1, 0) };
        let range = |start: u64| start..start + reserved as u64;
        let refused = |call: &str, error| {
            let error = Error::os(format!("{call}: {reserved:#x} bytes for marks"), error);
            limits::explain(error, reserved as u64)
        };
        if got == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(match (at, error.raw_os_error()) {
                (Some(at), Some(libc::EEXIST)) => limits::in_use(range(at)),
                _ => refused("mmap", error),
            });
        }
        let base = NonNull::new(got.cast()).expect("a mapping that succeeded");
        let mut memory = Self { base, reserved, is_writable: true, generation: fork_generation() };
        let start = got.expose_provenance() as u64;
        if at.is_some_and(|at| at != start) {
            // Linux before 4.17 takes the address for a hint.
            return Err(limits::in_use(range(at.unwrap_or(0))));
        }
        // SAFETY: the pages are those that mmap has just made, and nobody else knows of them. Only what can be written counts where the system promises no more memory
        // than it has.
        if usable > 0 && unsafe { libc::mprotect(got, usable, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            if at.is_none() {
                return Err(refused("mprotect", io::Error::last_os_error()));
            }
            memory.is_writable = false;
        }
        // SAFETY: what a forked child inherits, and the size of pages, change nothing here.
        unsafe {
            advise(range(start), libc::MADV_DONTFORK, "MADV_DONTFORK")?;
            // Else a mark could cost 2 MiB. A kernel without huge pages refuses the advice, and needs none.
            let _ = advise(range(start), libc::MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE");
        }
        Ok(memory)
    }

    /// Whether the usable bytes can be written.
    pub fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for LazyBytes {
    fn drop(&mut self) {
        if same_process(self.generation).is_ok() {
            let start = self.base.as_ptr().addr() as u64;
            // SAFETY: the mapping is ours since `map`, and whoever was given its address uses it no longer. In a forked child it is not there.
            unsafe { unmap(start..start + self.reserved as u64) };
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_zeros_that_can_be_written() {
        let memory = LazyBytes::new(4 * PAGE).unwrap();
        for at in [0, 1, PAGE, 4 * PAGE - 1] {
            // SAFETY: within the bytes, which nobody else knows.
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
        let refused = LazyBytes::new(1 << 60).unwrap_err();
        assert!(refused.to_string().contains("0x1000000000000000 bytes"), "{refused}");
    }

    #[test]
    fn marks_are_where_addresses_say_and_in_nobodys_way() {
        // Tests that run beside this one may have the zones near the others.
        let number = ZoneNumber(END_ZONE - 1);
        let memory = LazyBytes::marks(number, 2 * PAGE).unwrap();
        let addr = u64::from(number.0) << ZONE_SHIFT;
        assert_eq!(mark(addr), memory.base().as_ptr());
        let written = mark(addr + (2 * PAGE as u64 * PAGE as u64) - 1);
        let last = mark(addr + (511 << 30) - 1);
        // SAFETY: marks of the zone, of which the first two pages can be written.
        unsafe {
            written.write(7);
            assert_eq!((written.read(), last.read()), (7, 0));
        }
        let refused = LazyBytes::marks(number, PAGE).unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::AddressInUse);
        assert!(refused.to_string().contains(&format!("{:#x}..", mark(addr).addr())), "{refused}");
        drop(memory);
        // SAFETY: as above.
        assert_eq!(unsafe { LazyBytes::marks(number, PAGE).unwrap().base().read() }, 0);
    }
}
