//! The working copy of a heap: one sparse memfd, and the windows through which its zones are mapped.
//!
//! ```text
//! memfd    | zone index 0       | zone index 1       | ...      index << 39, sparse
//!            ^^^^^^ lane_bytes, backed frame by frame
//! window   | lane 0 | lane 1 | lane 2 | ... | reserved, no access |      number << 39, 512 GiB
//!            dense    the same bytes again      PROT_NONE
//! ```
//!
//! Invariants:
//! 1. A window is reserved whole before anything is mapped into it, never over a mapping of somebody else.
//! 2. The memfd is at least as long as every mapping of it, so no access within a lane raises SIGBUS.
//! 3. No mapping of a zone reaches a child that is forked after `map_zone`, and no call here changes the memfd from one.
//! 4. Frames become huge pages where [`ZoneMapping::collapse`] says so. Memory is first touched through the dense lane, which refuses them everywhere else
//!    (MADV_NOHUGEPAGE); lanes follow what they map. Only if the system makes huge pages of all shared memory (shmem_enabled=always), what is written by
//!    [`ZoneMapping::write`] may become one as well; trackers then report more than was written.
//!
//! It must not know what the bytes mean.

use super::fork::{fork_generation, install, same_process};
use super::{
    LazyBytes, limits,
    pages::{FAULT_AROUND_BYTES, advise, memfd, touch, unmap},
};
use crate::base::{
    END_ZONE, Error, ErrorKind, FIRST_ZONE, LANE_SHIFT, PAGE, PAGE_SHIFT, Result, ZONE_SHIFT, ZoneIndex, ZoneNumber,
};
use std::{
    ffi::c_void,
    fs::File,
    io,
    ops::Range,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt},
    },
    ptr::NonNull,
    sync::{Arc, Mutex},
};

pub use super::pages::ptr;

/// Bytes of address space that a zone takes.
const WINDOW_BYTES: u64 = 1 << ZONE_SHIFT;
/// How often a huge page is asked for while the kernel says to try again.
const COLLAPSE_ATTEMPTS: u32 = 3;
/// Bytes populated by one call, so that signals which interrupt it cannot keep it from progress.
const POPULATE_BYTES: u64 = 4 << 20;

struct Arena {
    file: File,
    bytes: Mutex<u64>,
    generation: u32,
}

/// The memory of one heap: a sparse file without a name, gone with the process.
pub struct WorkingMemory {
    arena: Arc<Arena>,
}

/// The format and the address layout know pages of 4 KiB only.
fn check_page_size() -> Result<()> {
    // SAFETY: sysconf takes no pointers.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if usize::try_from(bytes) == Ok(PAGE) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the kernel's pages are {bytes} bytes; strewn needs pages of {PAGE}"),
    ))
}

impl WorkingMemory {
    /// Empty memory.
    ///
    /// # Errors
    /// If the operating system refuses a memfd; `Unsupported` if its pages are not of 4 KiB.
    pub fn new() -> Result<Self> {
        check_page_size()?;
        install();
        let file = memfd()?;
        Ok(Self { arena: Arc::new(Arena { file, bytes: Mutex::new(0), generation: fork_generation() }) })
    }

    /// Maps the first `lane_bytes` of the zone with `index` into the window of `number`: lane 0, then `lanes` more.
    ///
    /// # Errors
    /// - `AddressInUse` if something is mapped in the window; the message names it.
    /// - `OutOfMemory` if a limit refuses; the message names the limit.
    /// - `InvalidArgument` for a zone, lane count or length that cannot be.
    pub fn map_zone(&self, number: ZoneNumber, index: ZoneIndex, lanes: u16, lane_bytes: u64) -> Result<ZoneMapping> {
        same_process(self.arena.generation)?;
        check_shape(number, lanes, lane_bytes)?;
        let offset = u64::from(index.0) << ZONE_SHIFT;
        self.arena.grow(offset + lane_bytes)?;
        reserve(number)?;
        let marks = LazyBytes::marks(number, mark_bytes(lanes)).inspect_err(|_| {
            // SAFETY: the window is ours since `reserve`, and nobody has a pointer into it.
            unsafe { unmap(number.start()..number.end()) };
        })?;
        // From here on the window is ours, and unmapped when `zone` is dropped.
        let zone = ZoneMapping { number, offset, lane_bytes, arena: Arc::clone(&self.arena), marks: Some(marks) };
        for lane in 0..=lanes {
            zone.map_lane(lane)?;
        }
        // SAFETY: what a forked child inherits changes nothing here.
        unsafe { advise(number.start()..number.end(), libc::MADV_DONTFORK, "MADV_DONTFORK")? };
        Ok(zone)
    }
}

impl Arena {
    fn grow(&self, bytes: u64) -> Result<()> {
        let mut now = self.bytes.lock().unwrap_or_else(|poison| poison.into_inner());
        if bytes > *now {
            limits::check_file_size(bytes, "the heap's working memory (a sparse memfd; it takes no disk)")?;
            self.file.set_len(bytes).map_err(|e| Error::os(format!("ftruncate memfd to {bytes:#x} bytes"), e))?;
            *now = bytes;
        }
        Ok(())
    }
}

trait Window {
    fn start(self) -> u64;
    fn end(self) -> u64;
}

impl Window for ZoneNumber {
    fn start(self) -> u64 {
        u64::from(self.0) << ZONE_SHIFT
    }
    fn end(self) -> u64 {
        self.start() + WINDOW_BYTES
    }
}

fn check_shape(number: ZoneNumber, lanes: u16, lane_bytes: u64) -> Result<()> {
    let most = if lanes == 0 { WINDOW_BYTES } else { 1 << LANE_SHIFT };
    let fits = (FIRST_ZONE..END_ZONE).contains(&number.0)
        && u64::from(lanes) < WINDOW_BYTES >> LANE_SHIFT
        && (PAGE as u64..=most).contains(&lane_bytes)
        && lane_bytes.is_multiple_of(PAGE as u64);
    if fits {
        return Ok(());
    }
    let what = format!("zone {number} with {lanes} lanes of {lane_bytes:#x} bytes does not fit the address layout");
    Err(Error::new(ErrorKind::InvalidArgument, what))
}

/// Reserves the window of `number`, so that nobody else maps anything there.
fn reserve(number: ZoneNumber) -> Result<()> {
    let (start, end) = (number.start(), number.end());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let want = std::ptr::without_provenance_mut::<c_void>(start as usize);
    // SAFETY: MAP_FIXED_NOREPLACE replaces no mapping, so no memory that anybody uses changes.
    let got = unsafe { libc::mmap(want, WINDOW_BYTES as usize, libc::PROT_NONE, flags, -1, 0) };
    if got == want {
        got.expose_provenance();
        return Ok(());
    }
    if got == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EEXIST) => limits::in_use(start..end),
            _ => limits::explain(Error::os(format!("mmap: reserve {start:#x}..{end:#x}"), error), WINDOW_BYTES),
        });
    }
    // Linux before 4.17 takes the address for a hint.
    // SAFETY: `got` is the mapping that mmap has just made, and nobody else knows of it.
    unsafe { libc::munmap(got, WINDOW_BYTES as usize) };
    Err(limits::in_use(start..end))
}

/// One zone, mapped. Dropping it unmaps the whole window.
pub struct ZoneMapping {
    number: ZoneNumber,
    offset: u64,
    lane_bytes: u64,
    arena: Arc<Arena>,
    /// Until it is dropped.
    marks: Option<LazyBytes>,
}

/// How many marks of a zone with so many lanes can be written: all those of lanes.
fn mark_bytes(lanes: u16) -> usize {
    if lanes == 0 { 0 } else { (usize::from(lanes) + 1) << (LANE_SHIFT - PAGE_SHIFT) }
}

impl ZoneMapping {
    fn map_lane(&self, lane: u16) -> Result<()> {
        let start = self.number.start() + (u64::from(lane) << LANE_SHIFT);
        let range = start..start + self.lane_bytes;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        let (len, fd) = (self.lane_bytes as usize, self.arena.file.as_raw_fd());
        // SAFETY: `check_shape` keeps the range within the window, which `reserve` made ours and which holds nothing at
        // this place yet but the reservation itself; invariant 2 holds since `grow`.
        let got = unsafe { libc::mmap(ptr(start).cast(), len, access, flags, fd, self.offset as i64) };
        if got == libc::MAP_FAILED {
            let error = Error::last_os(format!("mmap: lane {lane} of zone {} at {start:#x}", self.number));
            return Err(limits::explain(error, self.lane_bytes));
        }
        got.expose_provenance();
        if lane > 0 {
            // SAFETY: what a core file holds changes nothing here.
            return unsafe { advise(range, libc::MADV_DONTDUMP, "MADV_DONTDUMP") };
        }
        // SAFETY: the size of the pages that memory is mapped by is no part of its contents.
        match unsafe { advise(range, libc::MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE") } {
            // A kernel without huge pages refuses the advice, and needs none.
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => Err(e),
            _ => Ok(()),
        }
    }

    /// Makes one huge page of `range`, a block in the dense lane, whether or not it has memory yet. Contents stay, and writers may go on. Lanes that have
    /// page tables for the block keep them, with the pages' marks; [`remap`](Self::remap) takes them away. False if some page was in use by the
    /// kernel at each attempt, as writers make it: it may work later. The block is then what it was.
    ///
    /// # Errors
    /// If the kernel has no huge page to give, or refuses. The block is what it was.
    pub fn collapse(&self, range: Range<u64>) -> Result<bool> {
        same_process(self.arena.generation)?;
        self.check_addresses(&range)?;
        // SAFETY: the size of the pages that memory is mapped by is no part of its contents.
        unsafe { advise(range.clone(), libc::MADV_HUGEPAGE, "MADV_HUGEPAGE")? };
        // The kernel collapses no block that is all hole.
        self.populate(range.start..range.start + PAGE as u64)?;
        // SAFETY: as above.
        let attempt = || unsafe { advise(range.clone(), libc::MADV_COLLAPSE, "MADV_COLLAPSE") };
        let busy = |outcome: &Result<()>| matches!(outcome, Err(e) if e.raw_os_error() == Some(libc::EAGAIN));
        let outcome = (1..COLLAPSE_ATTEMPTS).map(|_| attempt()).find(|outcome| !busy(outcome)).unwrap_or_else(attempt);
        if outcome.is_err() {
            // SAFETY: as above.
            unsafe { advise(range.clone(), libc::MADV_NOHUGEPAGE, "MADV_NOHUGEPAGE")? };
        }
        if busy(&outcome) { Ok(false) } else { outcome.map(|()| true) }
    }

    /// Maps `range`, whole blocks in a lane of this zone, afresh: without page tables, so that the next touch of a block that is a huge page maps all of it
    /// by one entry. The range is tracked no longer. Contents stay.
    ///
    /// # Errors
    /// If the kernel refuses, as at the limit of mappings (vm.max_map_count). Linux then leaves the old mapping, but does not promise to.
    pub fn remap(&self, range: Range<u64>) -> Result<()> {
        same_process(self.arena.generation)?;
        self.check_addresses(&range)?;
        let byte = (range.start - self.number.start()) & ((1 << LANE_SHIFT) - 1);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        let (len, fd) = ((range.end - range.start) as usize, self.arena.file.as_raw_fd());
        // SAFETY: the range is mapped already, with the same bytes of the same file at the same place: whoever looks at it sees no difference.
        let got = unsafe { libc::mmap(ptr(range.start).cast(), len, access, flags, fd, (self.offset + byte) as i64) };
        if got == libc::MAP_FAILED {
            let error = Error::last_os(format!("mmap: {:#x}..{:#x} again", range.start, range.end));
            return Err(limits::explain(error, len as u64));
        }
        got.expose_provenance();
        // SAFETY: what a core file holds, and what a forked child inherits, changes nothing here.
        unsafe {
            advise(range.clone(), libc::MADV_DONTFORK, "MADV_DONTFORK")?;
            advise(range, libc::MADV_DONTDUMP, "MADV_DONTDUMP")
        }
    }

    /// The first mark of this zone: a byte for each page of the window ([`mark`](super::mark)). All can be read; those of lanes written, unless there are none, or the system had no
    /// memory to promise for them: then None.
    pub fn marks(&self) -> Option<NonNull<u8>> {
        self.marks.as_ref().filter(|marks| marks.is_writable()).map(LazyBytes::base)
    }

    /// The zone whose window this is.
    pub fn number(&self) -> ZoneNumber {
        self.number
    }

    /// Maps the pages of `range` (addresses in lanes of this zone) readable at once, so that first touches cost nothing.
    /// Backs the frames that were not.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn populate(&self, range: Range<u64>) -> Result<()> {
        same_process(self.arena.generation)?;
        self.check_addresses(&range)?;
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + POPULATE_BYTES);
            // SAFETY: reading memory changes none of it; holes become the zeroes that they read as.
            match unsafe { advise(start..end, libc::MADV_POPULATE_READ, "MADV_POPULATE_READ") } {
                Ok(()) => start = end,
                Err(e) => match e.raw_os_error() {
                    Some(libc::EINTR | libc::EAGAIN) => (),
                    // Linux before 5.14.
                    Some(libc::EINVAL) => {
                        // SAFETY: the range is in lanes of this zone. No byte of it is anybody's yet; but for `collapse`, which such a kernel does not know.
                        unsafe { touch(start..range.end, PAGE as u64, 0) };
                        return Ok(());
                    }
                    _ => return Err(e),
                },
            }
        }
        Ok(())
    }

    /// Maps `range` (addresses in lanes of this zone), whose memory is there already, so that neither reading nor writing it faults: one read every
    /// 64 KiB, and the kernel maps the pages around it (fault-around). Costs half as much as [`populate`](Self::populate). Where the kernel's
    /// fault-around is smaller, the other pages fault when they are written, and nothing else changes. Reads the byte at `byte` of those pages: the
    /// caller's own, so that the read races with no writer.
    ///
    /// # Errors
    /// In a forked child, or if the range is not in this zone.
    pub fn map_backed(&self, range: Range<u64>, byte: usize) -> Result<()> {
        same_process(self.arena.generation)?;
        self.check_addresses(&range)?;
        // SAFETY: the range is in lanes of this zone, which stay mapped while `self` lives; the caller has not handed this byte out yet, or the world is stopped, or
        // nobody has the heap yet.
        unsafe { touch(range, FAULT_AROUND_BYTES, byte) };
        Ok(())
    }

    /// Reads the zone's bytes from `byte` on.
    ///
    /// # Errors
    /// If the operating system refuses, or the bytes are not all in the zone.
    #[cfg(test)]
    pub fn read(&self, byte: u64, buf: &mut [u8]) -> Result<()> {
        self.check_bytes(byte, buf.len() as u64)?;
        let at = self.offset + byte;
        let what = format!("pread {} bytes at {byte:#x} of zone {}", buf.len(), self.number);
        self.arena.file.read_exact_at(buf, at).map_err(|e| Error::os(what, e))
    }

    /// Writes `bytes` at `byte` of the zone, past every lane: no tracker sees it.
    ///
    /// # Errors
    /// If memory runs out, or the bytes are not all in the zone.
    pub fn write(&self, byte: u64, bytes: &[u8]) -> Result<()> {
        same_process(self.arena.generation)?;
        self.check_bytes(byte, bytes.len() as u64)?;
        let at = self.offset + byte;
        limits::check_file_size(at + bytes.len() as u64, "the heap's working memory")?;
        let what = || format!("pwrite {} bytes at {byte:#x} of zone {}", bytes.len(), self.number);
        self.arena.file.write_all_at(bytes, at).map_err(|e| Error::os(what(), e))
    }

    /// Gives the memory of `len` bytes at `byte` back to the system; they read as zero from now on, in every lane.
    ///
    /// # Errors
    /// If the operating system refuses, or the bytes are not all in the zone.
    pub fn punch(&self, byte: u64, len: u64) -> Result<()> {
        same_process(self.arena.generation)?;
        self.check_bytes(byte, len)?;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        loop {
            let (fd, at) = (self.arena.file.as_raw_fd(), (self.offset + byte) as i64);
            // SAFETY: the descriptor is open while `self.arena` lives; the call takes no pointer.
            if unsafe { libc::fallocate(fd, mode, at, len as i64) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Error::os(format!("punch {len:#x} bytes at {byte:#x} of zone {}", self.number), error));
            }
        }
    }

    /// The first stretch of `bytes` (offsets in the zone) that is backed by memory.
    ///
    /// # Errors
    /// If the operating system refuses, or the bytes are not all in the zone.
    pub fn next_data(&self, bytes: Range<u64>) -> Result<Option<Range<u64>>> {
        self.check_bytes(bytes.start, bytes.end.saturating_sub(bytes.start))?;
        let Some(start) = self.seek(bytes.start, libc::SEEK_DATA)? else { return Ok(None) };
        if start >= bytes.end {
            return Ok(None);
        }
        // A hole can have come up there meanwhile; then the stretch is empty, and the next one is looked for.
        let end = self.seek(start, libc::SEEK_HOLE)?.unwrap_or(start).min(bytes.end);
        if end == start { self.next_data(start + PAGE as u64..bytes.end) } else { Ok(Some(start..end)) }
    }

    fn seek(&self, byte: u64, whence: i32) -> Result<Option<u64>> {
        let (fd, at) = (self.arena.file.as_raw_fd(), (self.offset + byte) as i64);
        // SAFETY: the descriptor is open while `self.arena` lives. The file position that this moves is used by nobody.
        let found = unsafe { libc::lseek64(fd, at, whence) };
        if found >= 0 {
            return Ok(Some(found as u64 - self.offset));
        }
        match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            e => Err(Error::os(format!("lseek from {byte:#x} of zone {}", self.number), e)),
        }
    }

    /// Bytes of memory behind the whole heap of this zone.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn backed_bytes(&self) -> Result<u64> {
        let meta = self.arena.file.metadata().map_err(|e| Error::os("fstat memfd", e))?;
        Ok(meta.blocks() * 512)
    }

    fn check_bytes(&self, byte: u64, len: u64) -> Result<()> {
        match byte.checked_add(len) {
            Some(end) if end <= self.lane_bytes => Ok(()),
            _ => {
                let (number, most) = (self.number, self.lane_bytes);
                let what = format!("{len:#x} bytes at {byte:#x} are not all in zone {number} of {most:#x} bytes");
                Err(Error::new(ErrorKind::InvalidArgument, what))
            }
        }
    }

    fn check_addresses(&self, range: &Range<u64>) -> Result<()> {
        let window = self.number.start()..=self.number.end();
        if window.contains(&range.start) && window.contains(&range.end) {
            return Ok(());
        }
        let what = format!("{:#x}..{:#x} is not in zone {}", range.start, range.end, self.number);
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }
}

impl Drop for ZoneMapping {
    fn drop(&mut self) {
        // First: whoever takes the window next needs the place of the marks as well.
        self.marks = None;
        if same_process(self.arena.generation).is_ok() {
            // The window is ours since `reserve`. Pointers into it belong to values that borrow the heap, which drops its zones last; in a forked child nothing of ours is mapped, so nothing is unmapped there.
            // SAFETY: so.
            unsafe { unmap(self.number.start()..self.number.end()) };
        }
    }
}
