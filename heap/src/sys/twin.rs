//! The working memory without system calls, for Miri and `--cfg strewn_twin`: each zone is a zeroed heap allocation.
//!
//! Heap addresses stay what they are; [`ptr`] finds the zone's allocation in a table and takes the lane bits away, so all lanes
//! are one memory. The table is the only owner of provenance: every pointer into a zone comes from its one allocation.

use crate::base::{
    END_ZONE, Error, ErrorKind, FIRST_ZONE, LANE_SHIFT, PAGE, Result, ZONE_FRAMES, ZONE_PAGES, ZONE_SHIFT, ZoneIndex,
    ZoneNumber,
};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::Range,
    ptr,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

const _: () = assert!(ZONE_FRAMES as u64 * PAGE as u64 <= 1 << LANE_SHIFT && ZONE_PAGES <= ZONE_FRAMES);

static TABLE: [AtomicPtr<u8>; END_ZONE as usize] = [const { AtomicPtr::new(ptr::null_mut()) }; END_ZONE as usize];

/// The pointer for a heap address; one that may not be dereferenced, where no zone is mapped.
#[inline]
pub fn ptr(addr: u64) -> *mut u8 {
    // Acquire pairs with the Release of `map_zone`: the zeroes are there before the pointer is.
    let base = TABLE.get((addr >> ZONE_SHIFT) as usize).map_or(ptr::null_mut(), |zone| zone.load(Ordering::Acquire));
    if base.is_null() {
        return ptr::without_provenance_mut(addr as usize);
    }
    base.wrapping_add((addr & ((1 << LANE_SHIFT) - 1)) as usize)
}

/// How large the memory of each zone is, for [`zone_of`].
static BYTES: [AtomicUsize; END_ZONE as usize] = [const { AtomicUsize::new(0) }; END_ZONE as usize];

/// The number of the zone in whose memory `at` lies.
pub fn zone_of(at: *const u8) -> Option<usize> {
    (0..TABLE.len()).find(|zone| {
        let base = TABLE[*zone].load(Ordering::Acquire);
        // Acquire: pairs with the store in `map_zone`.
        !base.is_null() && (base.addr()..base.addr() + BYTES[*zone].load(Ordering::Acquire)).contains(&at.addr())
    })
}

/// There are no pages here.
pub fn huge_lanes() -> &'static super::probe::Feature {
    static MISSING: std::sync::OnceLock<super::probe::Feature> = std::sync::OnceLock::new();
    MISSING.get_or_init(|| super::probe::Feature::Missing("the twin has no huge pages".to_owned()))
}

/// The marks of each zone: a byte for each frame of each of its lanes.
static MARKS: [AtomicPtr<u8>; END_ZONE as usize] = [const { AtomicPtr::new(ptr::null_mut()) }; END_ZONE as usize];
/// The mark of what has none.
static NONE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// The mark of the page at `addr`; where there are none, a zero that may be read.
#[inline]
pub fn mark(addr: u64) -> *mut u8 {
    // Acquire pairs with the Release of `marks`.
    let base = MARKS.get((addr >> ZONE_SHIFT) as usize).map_or(ptr::null_mut(), |zone| zone.load(Ordering::Acquire));
    if base.is_null() {
        return (&raw const NONE).cast_mut().cast();
    }
    let (lane, frame) = (addr >> LANE_SHIFT & 511, addr / PAGE as u64 % u64::from(ZONE_FRAMES));
    base.wrapping_add((lane * u64::from(ZONE_FRAMES) + frame) as usize)
}

/// Zeroed memory. All of it is there.
#[derive(Debug)]
pub struct LazyBytes {
    base: ptr::NonNull<u8>,
    layout: Layout,
    /// The zone whose marks it is.
    zone: Option<ZoneNumber>,
}

// SAFETY: it owns its memory, and hands out nothing but its address.
unsafe impl Send for LazyBytes {}
// SAFETY: as above.
unsafe impl Sync for LazyBytes {}

impl LazyBytes {
    /// `bytes` bytes, anywhere.
    ///
    /// # Errors
    /// None in the twin.
    ///
    /// # Panics
    /// If these are not whole pages.
    pub fn new(bytes: usize) -> Result<Self> {
        assert!(bytes.is_multiple_of(PAGE) && bytes > 0);
        let layout = Layout::from_size_align(bytes, PAGE).expect("so little memory");
        // SAFETY: the layout is not empty.
        let base = ptr::NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Ok(Self { base, layout, zone: None })
    }

    /// `bytes` marks of zone `number`, which has none, where [`mark`] finds them.
    fn marks(number: ZoneNumber, bytes: usize) -> Self {
        let mut memory = Self::new(bytes.next_multiple_of(PAGE)).expect("it has no errors");
        memory.zone = Some(number);
        MARKS[number.index()].store(memory.base.as_ptr(), Ordering::Release);
        memory
    }

    /// The first byte.
    pub fn base(&self) -> ptr::NonNull<u8> {
        self.base
    }
}

impl Drop for LazyBytes {
    fn drop(&mut self) {
        if let Some(zone) = self.zone {
            MARKS[zone.index()].store(ptr::null_mut(), Ordering::Release);
        }
        // SAFETY: allocated with this layout, and whoever was given its address uses it no longer.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// The memory of one heap.
pub struct WorkingMemory(());

impl WorkingMemory {
    /// Empty memory.
    ///
    /// # Errors
    /// None in the twin.
    pub fn new() -> Result<Self> {
        Ok(Self(()))
    }

    /// Makes the memory of a zone.
    ///
    /// # Errors
    /// `AddressInUse` if the zone is mapped, `InvalidArgument` for a zone or length that cannot be.
    pub fn map_zone(&self, number: ZoneNumber, _: ZoneIndex, lanes: u16, lane_bytes: u64) -> Result<ZoneMapping> {
        let most = u64::from(ZONE_FRAMES) * PAGE as u64;
        let fits = (FIRST_ZONE..END_ZONE).contains(&number.0)
            && u64::from(lanes) < 1 << (ZONE_SHIFT - LANE_SHIFT)
            && (PAGE as u64..=most).contains(&lane_bytes)
            && lane_bytes.is_multiple_of(PAGE as u64);
        let layout = Layout::from_size_align(lane_bytes as usize, PAGE).ok().filter(|_| fits).ok_or_else(|| {
            let what =
                format!("zone {number} with {lanes} lanes of {lane_bytes:#x} bytes does not fit the address layout");
            Error::new(ErrorKind::InvalidArgument, what)
        })?;
        // SAFETY: the layout is not empty, at least a page.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let zone = &TABLE[number.index()];
        // AcqRel: Release as `ptr` says; Acquire, so that the last owner's dealloc is done when the zone is free.
        if zone.compare_exchange(ptr::null_mut(), base, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: allocated above with this layout, and nobody else knows of it.
            unsafe { dealloc(base, layout) };
            let start = u64::from(number.0) << ZONE_SHIFT;
            let what = format!("{start:#x}..{:#x} is taken by another heap of this process", start + (1 << ZONE_SHIFT));
            return Err(Error::new(ErrorKind::AddressInUse, what));
        }
        // Release, for `zone_of`: whoever asks got a pointer into the zone from this thread, later.
        BYTES[number.index()].store(layout.size(), Ordering::Release);
        let marks = LazyBytes::marks(number, (usize::from(lanes) + 1) * ZONE_FRAMES as usize);
        Ok(ZoneMapping { number, layout, marks: Some(marks) })
    }
}

/// One zone's memory. Dropping it frees the memory.
pub struct ZoneMapping {
    number: ZoneNumber,
    layout: Layout,
    /// Until it is dropped.
    marks: Option<LazyBytes>,
}

impl ZoneMapping {
    /// The zone whose memory this is.
    pub fn number(&self) -> ZoneNumber {
        self.number
    }

    /// The first mark of this zone: a byte for each frame of each lane ([`mark`]).
    pub fn marks(&self) -> Option<ptr::NonNull<u8>> {
        self.marks.as_ref().map(LazyBytes::base)
    }

    /// Does nothing: all of the memory is there.
    ///
    /// # Errors
    /// None in the twin.
    pub fn populate(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }

    /// Reads the zone's bytes from `byte` on.
    ///
    /// # Errors
    /// If the bytes are not all in the zone.
    pub fn read(&self, byte: u64, buf: &mut [u8]) -> Result<()> {
        let from = self.bytes(byte, buf.len() as u64)?;
        // SAFETY: `bytes` has checked the bounds, the memory is zeroed or written, and `buf` is borrowed mutably.
        unsafe { from.copy_to_nonoverlapping(buf.as_mut_ptr(), buf.len()) };
        Ok(())
    }

    /// Nothing to do: all memory is there.
    ///
    /// # Errors
    /// None.
    pub fn map_backed(&self, _: Range<u64>, _: usize) -> Result<()> {
        Ok(())
    }

    /// Refuses: there are no pages here.
    ///
    /// # Errors
    /// `Unsupported`, always.
    pub fn collapse(&self, _: Range<u64>) -> Result<bool> {
        Err(Error::new(ErrorKind::Unsupported, "the twin has no huge pages"))
    }

    /// Nothing to do.
    ///
    /// # Errors
    /// None in the twin.
    pub fn remap(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }

    /// Writes `bytes` at `byte` of the zone.
    ///
    /// # Errors
    /// If the bytes are not all in the zone.
    pub fn write(&self, byte: u64, bytes: &[u8]) -> Result<()> {
        let to = self.bytes(byte, bytes.len() as u64)?;
        // SAFETY: `bytes` has checked the bounds; a borrowed slice does not overlap raw heap memory.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Makes `len` bytes at `byte` zero.
    ///
    /// # Errors
    /// If the bytes are not all in the zone.
    pub fn punch(&self, byte: u64, len: u64) -> Result<()> {
        let at = self.bytes(byte, len)?;
        // SAFETY: `bytes` has checked the bounds.
        unsafe { at.write_bytes(0, len as usize) };
        Ok(())
    }

    /// The first stretch of `bytes` in pages that are not all zero.
    ///
    /// # Errors
    /// If the bytes are not all in the zone.
    pub fn next_data(&self, bytes: Range<u64>) -> Result<Option<Range<u64>>> {
        self.bytes(bytes.start, bytes.end.saturating_sub(bytes.start))?;
        let page = |byte: u64| byte / PAGE as u64;
        let (first, end) = (page(bytes.start), bytes.end.div_ceil(PAGE as u64));
        let Some(start) = (first..end).find(|page| self.has_data(*page)) else { return Ok(None) };
        let stop = (start..end).find(|page| !self.has_data(*page)).unwrap_or(end);
        let (start, stop) = (start * PAGE as u64, stop * PAGE as u64);
        Ok(Some(start.max(bytes.start)..stop.min(bytes.end)))
    }

    /// Bytes of the pages of this zone that are not all zero.
    ///
    /// # Errors
    /// None in the twin.
    pub fn backed_bytes(&self) -> Result<u64> {
        let pages = self.layout.size() as u64 / PAGE as u64;
        Ok((0..pages).filter(|page| self.has_data(*page)).count() as u64 * PAGE as u64)
    }

    /// Whether a page is not all zero. Under Miri always: what a program left uninitialised may not be looked at.
    fn has_data(&self, page: u64) -> bool {
        let mut copy = [0u8; PAGE];
        cfg!(miri) || self.read(page * PAGE as u64, &mut copy).is_ok_and(|()| copy.iter().any(|byte| *byte != 0))
    }

    /// The pointer to `byte`, from which `len` bytes are in the zone.
    fn bytes(&self, byte: u64, len: u64) -> Result<*mut u8> {
        let most = self.layout.size() as u64;
        match byte.checked_add(len) {
            Some(end) if end <= most => {
                Ok(TABLE[self.number.index()].load(Ordering::Acquire).wrapping_add(byte as usize))
            }
            _ => {
                let number = self.number;
                let what = format!("{len:#x} bytes at {byte:#x} are not all in zone {number} of {most:#x} bytes");
                Err(Error::new(ErrorKind::InvalidArgument, what))
            }
        }
    }
}

impl Drop for ZoneMapping {
    fn drop(&mut self) {
        // First: whoever takes the zone next has marks of its own.
        self.marks = None;
        let base = TABLE[self.number.index()].swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: `map_zone` allocated it with this layout; only this value takes it out of the table. Pointers into it
        // belong to values that borrow the heap, which drops its zones last.
        unsafe { dealloc(base, self.layout) };
    }
}
