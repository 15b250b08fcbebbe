//! Whether a huge page of a memfd can be mapped as such by a second mapping: what lanes by huge pages stand on.

use super::{pages::memfd, probe::Feature, scan::Pagemap};
use crate::base::{BLOCK_FRAMES, Error, ErrorKind, PAGE, Result};
use std::{os::fd::AsRawFd, sync::OnceLock};

/// How often the kernel may refuse before it counts.
const ATTEMPTS: u32 = 5;
const BLOCK: usize = BLOCK_FRAMES as usize * PAGE;

/// Whether it works here. The first call tries it (0.2 ms, and 2 MiB for that long); later ones are free.
pub fn huge_lanes() -> &'static Feature {
    static TRIED: OnceLock<Feature> = OnceLock::new();
    TRIED.get_or_init(|| Feature::of(try_once()))
}

/// A mapping of address space that is given back.
struct Reserved(*mut libc::c_void);

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, made in `try_once`, and nothing points into it any more.
        unsafe { libc::munmap(self.0, 3 * BLOCK) };
    }
}

fn try_once() -> Result<()> {
    let file = memfd()?;
    super::limits::check_file_size(BLOCK as u64, "a block of a memfd")?;
    file.set_len(BLOCK as u64).map_err(|e| Error::os("ftruncate memfd to a block", e))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses a free address.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), 3 * BLOCK, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(Error::last_os("mmap: room for two blocks"));
    }
    let room = Reserved(base);
    let first = (room.0.addr()).next_multiple_of(BLOCK);
    for view in [first, first + BLOCK] {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        let at = room.0.with_addr(view);
        // SAFETY: the two blocks lie in the room that was just made, which holds nothing.
        if unsafe { libc::mmap(at, BLOCK, access, flags, file.as_raw_fd(), 0) } == libc::MAP_FAILED {
            return Err(Error::last_os("mmap: a block of a memfd"));
        }
    }
    let touch = |at: usize| {
        // SAFETY: both views are mapped readable while `room` lives.
        unsafe { room.0.with_addr(at).cast::<u8>().read_volatile() }
    };
    touch(first);
    let collapse = || {
        // SAFETY: the advice changes no byte, and nobody else knows of the block.
        match unsafe { libc::madvise(room.0.with_addr(first), BLOCK, libc::MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(Error::last_os("madvise MADV_COLLAPSE of a block of a memfd")),
        }
    };
    // It may fail for a moment; the answer is for the life of the process.
    (0..ATTEMPTS).find_map(|_| collapse().ok()).map_or_else(collapse, Ok)?;
    touch(first + BLOCK);
    let second = (first + BLOCK) as u64;
    match Pagemap::open()?.huge_bytes(second..second + BLOCK as u64)? {
        bytes if bytes == BLOCK as u64 => Ok(()),
        bytes => {
            let what = format!("a second mapping of a huge page is mapped by huge pages for {bytes} of {BLOCK} bytes");
            Err(Error::new(ErrorKind::Unsupported, what))
        }
    }
}
