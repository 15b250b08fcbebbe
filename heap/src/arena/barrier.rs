//! The write barrier: marks, a byte for each slot, that are set before an object is written through the dense lane, where no tracker looks.
//!
//! ```text
//!  47        39 38      30 29            12 11         0
//! +------------+----------+----------------+------------+
//! |    zone    |   lane   |     frame      |    byte    |      address of an object
//! +------------+----------+----------------+------------+
//!  `------------------.------------------'
//!                     v
//!                 [ marks ]      its mark: at a fixed place plus this number (sys::mark)
//!
//!  ZONES[zone] -> [ a byte a lane ][ a byte a lane-block, a bit for each of its groups ]
//! ```
//! The marks of one lane are neighbours, so a group, which is a cache line of marks, is 64 frames of one lane: objects that are allocated together are marked together,
//! and threads hardly share a line. A lane without a mark costs a cut one byte, a lane-block without one another. To find a mark set takes three instructions; a program that
//! writes to objects all over memory is slowed down by each instruction, because what the processor does not reach it does not fetch ahead.
//!
//! Invariants:
//! - B1. Whoever writes to a slot through the dense lane has its address from [`write_address`], which found it marked or marked it, in the same section.
//! - B2. While the world is stopped, group and lane of each mark that is set are set. Whoever sets a mark sets these before his section ends; whoever finds
//!   the mark or the group set leaves the rest to who set it. The cut takes all three ([`Marks::take`]), so none is set from before it.
//! - B3. Each pass of a cut takes the marks while the world is stopped. Marks are set inside sections only: none is set meanwhile, and all that were set
//!   before are seen (G2), with what was written after them.
//! - B4. What is taken goes into the zone's ledger at once, as what a tracker reports does, whatever the state of its lane-block; C2 does the rest.
//! - B5. What a marked slot's lane-block is compared with, if anything, becomes what the slot holds now ([`Ladder::keep_up`](crate::ladder::Ladder::keep_up)).
//!   Else a later write by hardware that makes it what it was would look like none.
//! - B6. A zone has marks that can be read as long as it is mapped. Its entry in `ZONES` is there before the first of its slots is handed out, and gone before its marks are.
//!
//! So a write through the dense lane is in the next record (C1). It happened in a section, before a cut or after it; before it, its mark is taken by a pass of that
//! cut, and the slot is copied if it is allocated still. That other ways to catch writes see nothing of it can not hurt, because they only add slots: a cold or sparse
//! lane-block that is clean, by whichever scan, says that nobody wrote to it through its own lane (D5), and that is all that is concluded. Only two things leave out
//! a slot: comparing with a copy, for which B5 is there, and comparing with the image, which is right however the slot was written (`folded.rs`, 2). If the record
//! is lost, it is owed like any other. A slot that was freed since is not copied, one that was allocated again is new, or zeros that the ledger knows of.
//!
//! Must not: be used for page runs, or in heaps that are addressed densely, which have no lane that is left unwatched. [`write_address`] returns their addresses as
//! they are.

use super::layout::{ZONE_LANES, dense_address, page_in_zone};
use crate::base::{
    BLOCK_FRAMES, Canary, END_ZONE, FrameIndex, LaneBlock, PAGE, SlotIndex, SlotLayout, ZONE_BLOCKS, ZONE_FRAMES,
    ZONE_SHIFT, ZoneNumber, canary, names::named,
};
use crate::sys::{self, LazyBytes, ZoneMapping};
use std::ptr;
// Of std, in models as well: marks are plain memory, and what orders their uses is the gate, which has models of its own.
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// How the typed API catches writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Writes {
    /// As the heap does; for a heap, as it does by default: by the barrier.
    #[default]
    OfHeap,
    /// By hardware: the heap's [tracker](crate::TrackerKind) notices the first write to an object after each checkpoint. Access that is not used for writing costs
    /// nothing.
    Hardware,
    /// By a write barrier: an object is marked as written when access to write it is handed out, which costs some nanoseconds instead of a page fault. What is larger
    /// than half a page, and all of a heap with the `page` tracker, is caught by hardware nevertheless.
    Barrier,
}

named!(Writes, "way to catch writes", OfHeap = "of-heap", Hardware = "hardware", Barrier = "barrier");

/// Marks of a group.
const GROUP: usize = 64;
/// Groups of a lane-block.
const GROUPS_OF_BLOCK: usize = BLOCK_FRAMES as usize / GROUP;
/// Where the bytes of lane-blocks start, after a byte for each lane.
const BLOCKS: usize = PAGE;
/// Marks of a lane.
const LANE_BYTES: usize = ZONE_FRAMES as usize;
/// Lane-blocks of a lane.
const LANE_BLOCKS: usize = ZONE_BLOCKS as usize;
/// Marks on a page of them.
const PAGE_MARKS: usize = if LANE_BYTES < PAGE { LANE_BYTES } else { PAGE };
/// In an entry of `ZONES`: the zone's heap catches writes by the barrier unless it is told otherwise.
const BY_DEFAULT: usize = 1;

const _: () = assert!(GROUPS_OF_BLOCK == u8::BITS as usize && ZONE_LANES <= BLOCKS);
const _: () = assert!(LANE_BYTES / PAGE_MARKS <= u64::BITS as usize);

/// By zone number: the bytes of its lanes and lane-blocks, with [`BY_DEFAULT`]; null where no marks can be written (B6).
static ZONES: [AtomicPtr<u8>; END_ZONE as usize] = [const { AtomicPtr::new(ptr::null_mut()) }; END_ZONE as usize];

/// The address to write an object (or `bytes` of one) at `addr` through. Marks it, if that is how its writes are caught.
///
/// # Safety
/// `addr` lies in a zone of an open heap. The caller is inside a section of it, and asks again in the next one.
#[inline]
pub unsafe fn write_address(addr: u64, bytes: usize, writes: Writes) -> u64 {
    if writes == Writes::Hardware {
        return addr;
    }
    // SAFETY: the zone has marks that can be read (B6), by the contract of this function.
    if unsafe { is_marked(sys::mark(addr)) } {
        return dense_address(addr);
    }
    let Some(zone) = ZONES.get((addr >> ZONE_SHIFT) as usize) else { return addr };
    // Relaxed: whoever has an address got it, directly or not, from the thread that claimed the zone, which ordered the store before (B6).
    let zone = zone.load(Ordering::Relaxed);
    if zone.is_null() || writes == Writes::OfHeap && zone.addr() & BY_DEFAULT == 0 {
        return addr;
    }
    debug_assert!(addr as usize % PAGE + bytes <= PAGE, "{bytes} bytes at {addr:#x} are not in one slot");
    debug_assert!(addr != dense_address(addr), "{addr:#x} is in no lane of its own: its mark would be found by nobody");
    // SAFETY: the contract of this function; this is the zone's entry.
    unsafe { mark(addr, zone) };
    dense_address(addr)
}

/// Whether a mark is set.
///
/// # Safety
/// It can be read.
#[inline]
unsafe fn is_marked(mark: *mut u8) -> bool {
    // Relaxed: nothing is concluded from it before the world is stopped (B2). SAFETY: by the contract; while sections are on, it is used by atomics only (B3).
    unsafe { AtomicU8::from_ptr(mark) }.load(Ordering::Relaxed) != 0
}

/// Marks the slot at `addr`, in a zone with this entry.
///
/// # Safety
/// That of [`write_address`].
#[cold]
#[inline(never)]
unsafe fn mark(addr: u64, zone: *mut u8) {
    let number = page_in_zone(addr);
    // SAFETY: the memory at the entry without its tag has a byte for each of ZONE_LANES lanes, then at BLOCKS one for each lane-block of the zone's lanes, of which the address
    // names one (the contract), as it names a mark. All are there as long as the heap is open (B6), and used by atomics only while sections are on (B3).
    unsafe {
        AtomicU8::from_ptr(sys::mark(addr)).store(1, Ordering::Relaxed);
        let base = zone.map_addr(|addr| addr & !BY_DEFAULT);
        let block = AtomicU8::from_ptr(base.add(BLOCKS + number / BLOCK_FRAMES as usize));
        let lane = AtomicU8::from_ptr(base.add(number / LANE_BYTES));
        let group = 1 << (number / GROUP % GROUPS_OF_BLOCK);
        // Each only if it was not set already, so that threads do not take lines from each other. Relaxed: as in `is_marked`.
        if block.load(Ordering::Relaxed) & group == 0 {
            block.fetch_or(group, Ordering::Relaxed);
            if lane.load(Ordering::Relaxed) == 0 {
                lane.store(1, Ordering::Relaxed);
            }
        }
    }
}

/// Zone `number` was mapped a moment ago. Whatever was known of it is of the past: in a forked child, of its parent.
pub(super) fn forget(number: ZoneNumber) {
    // Relaxed: as in `write_address`.
    ZONES[number.index()].store(ptr::null_mut(), Ordering::Relaxed);
}

/// The marked slots of one lane-block.
pub struct Marked {
    /// The lane-block.
    pub at: LaneBlock,
    /// One bit for each of its frames.
    bits: [u64; GROUPS_OF_BLOCK],
}

impl Marked {
    /// The frames in which its slot is marked, in ascending order.
    pub fn frames(&self) -> impl Iterator<Item = FrameIndex> {
        let first = self.at.frames().start;
        self.bits
            .iter()
            .zip(0..)
            .flat_map(move |(bits, group)| ones(*bits).map(move |bit| FrameIndex(first + group * GROUP as u32 + bit)))
    }
}

fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit)
    })
}

/// Of eight bytes that are 0 or 1, one bit each. Bit *i* of the product's last byte is byte *i*, moved there by one of eight shifts; no two of them meet.
fn gather(bytes: u64) -> u64 {
    bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The marks of one zone of slots.
#[derive(Debug)]
pub struct Marks {
    number: ZoneNumber,
    /// None if no marks of the zone can be written: then all its writes are caught by hardware.
    above: Option<LazyBytes>,
    /// The first mark, of the dense lane. None like `above`.
    marks: Option<ptr::NonNull<u8>>,
    /// By lane, one bit for each page of marks that was ever written.
    pages: Vec<u64>,
}

// SAFETY: plain bytes, which it writes only while the world is stopped (`take`), and which others use as atomics.
unsafe impl Send for Marks {}
// SAFETY: as above; shared access reads nothing through the pointer.
unsafe impl Sync for Marks {}

impl Marks {
    /// The marks of `mapping`, a zone with a lane for each slot of `layout`; a heap that catches writes as `writes` says. Where the system has no memory
    /// to promise for them, none are ever set. They are dropped before the mapping is.
    pub fn new(mapping: &ZoneMapping, layout: SlotLayout, writes: Writes) -> Self {
        let lanes = usize::from(layout.slots()) + 1;
        let marks = mapping.marks();
        let above = marks.and_then(|_| LazyBytes::new((BLOCKS + lanes * LANE_BLOCKS).next_multiple_of(PAGE)).ok());
        let entry = above.as_ref().map_or(ptr::null_mut(), |above| {
            let tag = if writes == Writes::Barrier { BY_DEFAULT } else { 0 };
            above.base().as_ptr().map_addr(|addr| addr | tag)
        });
        // Relaxed: as in `write_address`.
        ZONES[mapping.number().index()].store(entry, Ordering::Relaxed);
        Self { number: mapping.number(), above, marks, pages: vec![0; lanes] }
    }

    /// Marks that are never set, for a zone without lanes.
    pub fn none(mapping: &ZoneMapping) -> Self {
        Self { number: mapping.number(), above: None, marks: None, pages: Vec::new() }
    }

    /// Calls `each` with the lane-blocks that have marks, in ascending order, and clears these. Lane *l* has `lane_frames[l]` frames: nothing beyond is marked.
    ///
    /// # Safety
    /// The world is stopped.
    pub unsafe fn take(&mut self, lane_frames: &[u32], mut each: impl FnMut(Marked)) {
        let (Some(above), Some(first_mark)) = (&self.above, self.marks) else { return };
        for ((lane, &frames), pages) in lane_frames.iter().enumerate().zip(&mut self.pages).skip(1) {
            // SAFETY: there is a byte for each lane. Nobody else uses it, by the contract; what was done to it before happens before (G2).
            if unsafe { take_if_set(above.base().add(lane)) } == 0 {
                continue;
            }
            for block in 0..frames.div_ceil(BLOCK_FRAMES) {
                // SAFETY: as above; the lane-block is one of the zone's.
                let groups = unsafe { take_if_set(above.base().add(BLOCKS + lane * LANE_BLOCKS + block as usize)) };
                if groups == 0 {
                    continue;
                }
                let first = lane * LANE_BYTES + (block * BLOCK_FRAMES) as usize;
                let mut bits = [0; GROUPS_OF_BLOCK];
                for group in ones(u64::from(groups)).map(|group| group as usize) {
                    // SAFETY: as above: these are the marks of the group, in a lane that has marks.
                    let marks = unsafe { first_mark.add(first + group * GROUP) };
                    for word in 0..GROUP / size_of::<u64>() {
                        // SAFETY: as above.
                        bits[group] |= gather(unsafe { take_word(marks.add(word * size_of::<u64>())) }) << (word * 8);
                    }
                }
                if canary(Canary::MarkForgotten) {
                    bits[0] &= bits[0].wrapping_sub(1);
                }
                *pages |= 1 << ((block * BLOCK_FRAMES) as usize / PAGE_MARKS);
                each(Marked { at: LaneBlock::new(SlotIndex(lane as u16 - 1), block), bits });
            }
        }
    }

    /// Bytes of memory that the marks take, but for pages of them that were first written since marks were last taken.
    pub fn memory_bytes(&self) -> usize {
        let written = self.pages.iter().map(|pages| pages.count_ones() as usize).sum::<usize>();
        // The bytes of eight lanes' lane-blocks are a page; so are those of the lanes.
        let above = if written > 0 { 1 + (self.pages.len() * LANE_BLOCKS).div_ceil(PAGE) } else { 0 };
        self.pages.capacity() * size_of::<u64>() + (written + above) * PAGE
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        if let Some(above) = &self.above {
            // Not if another heap has the zone by now, as in a child that was forked from this one's process. Relaxed: as in `write_address`.
            let entry = &ZONES[self.number.index()];
            let _ = entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |entry| {
                let is_ours = entry.map_addr(|addr| addr & !BY_DEFAULT) == above.base().as_ptr();
                is_ours.then_some(ptr::null_mut())
            });
        }
    }
}

/// What it is; it becomes zero. A page that was never written stays unwritten.
///
/// # Safety
/// It can be read and written, and nobody else uses it.
unsafe fn take_if_set<T: Copy + Default + PartialEq>(at: ptr::NonNull<T>) -> T {
    // SAFETY: passed on.
    unsafe {
        let was = at.read();
        if was != T::default() {
            at.write(T::default());
        }
        was
    }
}

/// The same, for the eight marks at a multiple of eight.
///
/// # Safety
/// As for [`take_if_set`].
unsafe fn take_word(at: ptr::NonNull<u8>) -> u64 {
    debug_assert!(at.addr().get().is_multiple_of(size_of::<u64>()));
    // SAFETY: passed on; aligned, as the caller says.
    unsafe { take_if_set(at.cast::<u64>()) }.to_le()
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
