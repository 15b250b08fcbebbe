//! PAGEMAP_SCAN: find the written pages of a range and arm them again, in one step of the kernel.
//!
//! A page whose entry is missing counts as written, and a marker in its place arms it. The scan fills a bounded vector
//! and says where it stopped; whoever does not go on from there loses writes.

use crate::base::{Error, Result};
use linux_raw_sys::general as raw;
use std::{fs::File, io, mem::size_of, ops::Range, os::fd::AsRawFd};

/// A stretch of pages that the scan found.
pub type Region = raw::page_region;

/// An empty place for a [`Region`].
pub const NO_REGION: Region = Region { start: 0, end: 0, categories: 0 };

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = (3 << 30) | ((size_of::<raw::pm_scan_arg>() as u32) << 16) | ((b'f' as u32) << 8) | 16;
const _: () = assert!(size_of::<raw::pm_scan_arg>() == 96 && PAGEMAP_SCAN == 0xc060_6610);

/// The page map of this process, as of when it was opened: in a forked child it still means the parent's.
pub struct Pagemap {
    file: File,
}

impl Pagemap {
    /// Opens `/proc/self/pagemap`.
    ///
    /// # Errors
    /// If there is no `/proc`, or the process may not be inspected.
    pub fn open() -> Result<Self> {
        let file = File::open("/proc/self/pagemap").map_err(|e| Error::os("open /proc/self/pagemap", e))?;
        Ok(Self { file })
    }

    /// Finds written pages of `range` from its start on and arms them again, until the range or `regions` is used up.
    /// Gives the regions found, and the address up to which the range is done.
    ///
    /// # Errors
    /// If some page is not registered for asynchronous write-protect, or memory for page tables runs out. Pages may have
    /// been armed by then without being told of: after an error, take all of `range` for written.
    pub fn take_written<'a>(&self, range: Range<u64>, regions: &'a mut [Region]) -> Result<(&'a [Region], u64)> {
        let (found, done) = self.scan(&range, regions)?;
        Ok((&regions[..found], done))
    }

    /// Arms all of `range`, whatever was written.
    ///
    /// # Errors
    /// As for [`Pagemap::take_written`].
    pub fn arm(&self, range: Range<u64>) -> Result<()> {
        self.scan(&range, &mut []).map(|_| ())
    }

    /// How many bytes of `range` are mapped by huge pages.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn huge_bytes(&self, range: Range<u64>) -> Result<u64> {
        self.bytes_that_are(raw::PAGE_IS_HUGE.into(), range)
    }

    /// How many bytes of `range` are mapped.
    ///
    /// # Errors
    /// If the kernel does not tell.
    #[cfg(test)]
    pub fn present_bytes(&self, range: Range<u64>) -> Result<u64> {
        self.bytes_that_are(raw::PAGE_IS_PRESENT.into(), range)
    }

    fn bytes_that_are(&self, mask: u64, range: Range<u64>) -> Result<u64> {
        let (mut bytes, mut from) = (0, range.start);
        while from < range.end {
            let mut regions = [NO_REGION; 64];
            let (found, done) = self.ask(&(from..range.end), &mut regions, 0, mask)?;
            bytes += regions[..found].iter().map(|region| region.end - region.start).sum::<u64>();
            from = done;
        }
        Ok(bytes)
    }

    fn scan(&self, range: &Range<u64>, regions: &mut [Region]) -> Result<(usize, u64)> {
        let flags = raw::PM_SCAN_WP_MATCHING | raw::PM_SCAN_CHECK_WPASYNC;
        self.ask(range, regions, flags.into(), raw::PAGE_IS_WRITTEN.into())
    }

    fn ask(&self, range: &Range<u64>, regions: &mut [Region], flags: u64, mask: u64) -> Result<(usize, u64)> {
        let mut arg = raw::pm_scan_arg {
            size: size_of::<raw::pm_scan_arg>() as u64,
            flags,
            start: range.start,
            end: range.end,
            walk_end: 0,
            vec: if regions.is_empty() { 0 } else { regions.as_mut_ptr().expose_provenance() as u64 },
            vec_len: regions.len() as u64,
            max_pages: 0,
            category_inverted: 0,
            category_mask: mask,
            category_anyof_mask: 0,
            return_mask: mask,
        };
        // SAFETY: `arg` is what the request reads and writes, and `vec` holds `vec_len` regions that are borrowed
        // mutably. Arming a page changes no byte of it and stops no thread.
        let found = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut arg) };
        if found < 0 {
            let error = io::Error::last_os_error();
            return Err(Error::os(format!("PAGEMAP_SCAN {:#x}..{:#x}", range.start, range.end), error));
        }
        debug_assert!(found as usize <= regions.len() && (range.start..=range.end).contains(&arg.walk_end));
        Ok((found as usize, arg.walk_end))
    }
}
