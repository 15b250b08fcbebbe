//! [`SlotZone`]: the slots of one zone. Which are taken, which are free, and which have never been handed out.
//!
//! Invariants:
//! - S1. A slot is taken, free or fresh. Fresh slots lie beyond the cursor: in later lanes or frames of the current run, or in later runs.
//! - S2. `free` holds exactly the frames that have a free slot (not taken, not fresh).
//! - S3. Lane l is mapped and tracked for exactly the frames below `lane_frames[l]`; a slot is handed out only there.
//! - S4. taken + free + fresh slots below the end of the zone == slots of these frames (see [`SlotZone::check`]). Slots of vacant blocks are fresh.
//!
//! Fresh slots are handed out by runs of frames: all frames of a run through its first group of lanes, then all through the next, and so on. So what is handed out one after the
//! other lies in neighbouring slots of a frame, as many as [`groups`] says, and then in the next frame. A run is one of two things:
//! - *A block that is a huge page*, once the zone has a block full, if slots are small ([`COARSE_SLOT_BYTES_MAX`]) and the kernel can. Each lane maps it by
//!   one entry, and what is handed out together lies in few lane-blocks, which are the units that the ladder works on. Reading costs the same in any order
//!   then (ARCHITECTURE.md, "Reading").
//! - *Some frames mapped by pages*, else: 64, where sequential reads through lanes by pages are fastest, and fewer at first so that a heap with few
//!   objects stays small. A run never reaches over the end of a block.

mod blocks;
mod census;
mod cuts;
mod recovery;

use super::ledger::Ledger;
use crate::arena::{Marks, Spot, Writes, lane_range, slot_address};
use crate::base::{
    BLOCK_FRAMES, FrameIndex, FrameSet, LaneBlock, LaneIndex, Result, SlotIndex, SlotLayout, SlotMask, ZONE_FRAMES,
    ZoneIndex, block_frames,
};
use crate::durable::Addressing;
use crate::ladder::{Ladder, Mapping, PolicyKind};
use crate::sys::{ZoneMapping, huge_lanes};
use crate::track::{TrackerKind, WriteTracker};
use std::collections::BTreeSet;
use std::ops::Range;

const RUN_FRAMES_MIN: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 8 };
const RUN_FRAMES_MAX: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 64 };
/// Fresh slots handed out at a time, unless there are more in a group.
const BATCH_SLOTS: u32 = 64;
/// Lanes of a group at least, if there are as many. Reading a word of each of a million objects of 64 B in the order in which they were allocated takes 4.3 ns an object if one lane is
/// filled after the other, 3.7 with two at a time, 3.1 with four, 2.9 with eight, 2.7 with 16, and 2.2 with all; through `Box`es it takes 2.4 to 3.3.
const GROUP_LANES: usize = 4;
/// Bytes of a group at least, if there are as many.
const GROUP_BYTES: usize = 256;
/// The same in runs that are a block, where the typed API marks what is written. More would be read faster; but what is being filled is compared at each cut.
const GROUP_BYTES_MARKED: usize = 1024;
/// Slots that walking the frames of a block must find for the next walk to be tried in the same batch.
const SWEEP_MIN: usize = 16;
/// Larger slots are always mapped by pages: a cold lane-block that wakes has all its 512 slots copied, 128 KiB for these and more for larger ones, while
/// the heap has the fewer of them to scan.
const COARSE_SLOT_BYTES_MAX: usize = 256;

/// Where the next fresh slots come from.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The frames of the current run.
    first: u32,
    end: u32,
    /// The first slot of the group that is handed out; at `slots` the run is used up.
    slot: u16,
    /// Slots of the group: each has its lane. Anything while `at` is `first`.
    group: u16,
    /// The next frame to hand them out in.
    at: u32,
}

/// How many slots of a frame make a group: in runs that are a block, and in others.
///
/// Where hardware catches writes, what is written together should lie in few lane-blocks. That matters less where the typed API marks what is written; but in a small heap each lane that is
/// begun costs two pages of page tables.
fn groups(layout: SlotLayout, writes: Writes) -> [u16; 2] {
    let in_blocks = if writes == Writes::Barrier { GROUP_BYTES_MARKED } else { GROUP_BYTES };
    [in_blocks, GROUP_BYTES].map(|bytes| {
        // Few for models, which have few of everything.
        let slots = if cfg!(any(loom, shuttle)) { 1 } else { GROUP_LANES.max(bytes / layout.slot_bytes()) };
        layout.slots().min(slots as u16)
    })
}

/// One zone of slots of one size.
pub struct SlotZone {
    /// Its place in the heap's zone table.
    pub index: ZoneIndex,
    /// Which slots were written past the tracker. Before the memory, so that it is dropped first.
    marks: Marks,
    /// Its memory.
    pub mapping: ZoneMapping,
    /// What the next record must say about it.
    pub ledger: Ledger,
    layout: SlotLayout,
    how: Addressing,
    taken: Vec<u64>,
    free: FrameSet,
    cursor: Cursor,
    lane_frames: Vec<u32>,
    /// Frames that were ever part of a run.
    frames: u32,
    /// Frames that lost their last taken slot and may be punched out.
    emptied: FrameSet,
    /// Whether one became empty since they were last looked at.
    newly_emptied: bool,
    /// How finely the writes to each lane-block are tracked.
    pub ladder: Ladder,
    mapping_asked: Mapping,
    /// Whether its blocks can be huge pages.
    coarse: bool,
    /// See [`groups`].
    groups: [u16; 2],
    /// Blocks without a taken slot, whose memory was given back. Their slots are fresh.
    vacant: BTreeSet<u32>,
    /// Blocks of pages below this one are not asked to become huge pages again.
    collapsed: u32,
    /// How often this one was, in vain.
    refusals: u32,
}

/// How a zone is set up.
pub struct SlotSetup {
    /// How frames are cut.
    pub layout: SlotLayout,
    /// How objects are addressed.
    pub how: Addressing,
    /// How lanes are to be mapped.
    pub mapping: Mapping,
    /// Whether its tracker arms what is mapped by a huge page as one.
    pub tracks_huge_pages: bool,
    /// What watches it.
    pub tracker: TrackerKind,
    /// How finely writes are tracked.
    pub policy: PolicyKind,
    /// How the typed API catches them.
    pub writes: Writes,
}

impl SlotSetup {
    /// Whether blocks of such a zone can be huge pages.
    pub fn is_coarse(&self) -> bool {
        self.how == Addressing::Lanes
            && self.mapping != Mapping::Pages
            && self.tracks_huge_pages
            && self.layout.slot_bytes() <= COARSE_SLOT_BYTES_MAX
            && huge_lanes().is_available()
    }
}

impl SlotZone {
    /// An empty zone in `mapping`.
    pub fn new(index: ZoneIndex, mapping: ZoneMapping, setup: SlotSetup) -> Self {
        let coarse = setup.is_coarse();
        let SlotSetup { layout, how, .. } = setup;
        let policy = setup.policy.make(layout, setup.tracker, coarse);
        let ladder = Ladder::new(mapping.number(), layout, policy, coarse);
        let (lanes, marks) = match how {
            Addressing::Lanes => (layout.slots() + 1, Marks::new(&mapping, layout, setup.writes)),
            Addressing::Dense => (1, Marks::none(&mapping)),
        };
        Self {
            index,
            marks,
            mapping,
            ledger: Ledger::new(layout),
            layout,
            how,
            taken: Vec::new(),
            free: FrameSet::default(),
            cursor: Cursor { first: 0, end: 0, slot: layout.slots(), group: 0, at: 0 },
            lane_frames: vec![0; usize::from(lanes)],
            frames: 0,
            emptied: FrameSet::default(),
            newly_emptied: false,
            ladder,
            mapping_asked: setup.mapping,
            coarse,
            groups: groups(layout, setup.writes),
            vacant: BTreeSet::new(),
            collapsed: 0,
            refusals: 0,
        }
    }

    /// How frames are cut here.
    pub fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// Takes up to `limit` free slots and pushes their addresses, the lowest last. Returns how many. They come from the lowest frames; in a block that is a
    /// huge page, as far as possible from one group of lanes: the same slots of one frame after the other.
    pub fn take_free(&mut self, limit: usize, into: &mut Vec<u64>) -> usize {
        let start = into.len();
        let mut scattered = false;
        while into.len() - start < limit {
            let Some(first) = self.free.first() else { break };
            let slots = self.free_slots(first);
            if scattered || !self.is_handed_out_by_lanes(first.0 / BLOCK_FRAMES) {
                let some = slots.iter().take(limit - (into.len() - start)).collect();
                self.take_again(first, &slots, &some, into);
                continue;
            }
            let slot = slots.iter().next().expect("S2: the frame has a free slot");
            let group = self.group_of(slot);
            let end = block_frames(first.0 / BLOCK_FRAMES).end;
            let before = into.len();
            let mut next = Some(first);
            while let Some(frame) = next.filter(|frame| frame.0 < end && into.len() - start < limit) {
                let free = self.free_slots(frame);
                let some: SlotMask =
                    free.minus(&free.minus(&group)).iter().take(limit - (into.len() - start)).collect();
                if !some.is_empty() {
                    self.take_again(frame, &free, &some, into);
                }
                next = self.free.next_at_or_after(FrameIndex(frame.0 + 1));
            }
            // Walking a block for a handful of slots costs more than they do.
            scattered = into.len() - before < SWEEP_MIN;
        }
        into[start..].reverse();
        into.len() - start
    }

    /// Takes the next batch of fresh slots, all of one group of lanes of the current run. Returns how many: 0 when the zone is full.
    ///
    /// # Errors
    /// If the operating system has no memory for it, or refuses to track it. Nothing is taken then.
    pub fn take_fresh(&mut self, tracker: &dyn WriteTracker, into: &mut Vec<u64>) -> Result<usize> {
        if self.cursor.slot == self.layout.slots() && !self.next_run(tracker)? {
            return Ok(0);
        }
        if self.how == Addressing::Dense {
            return Ok(self.take_free(RUN_FRAMES_MAX as usize, into));
        }
        if self.cursor.at == self.cursor.first {
            self.begin_group(tracker)?;
        }
        let Cursor { slot, group, at, .. } = self.cursor;
        let frames = at..self.cursor.end.min(at + (BATCH_SLOTS / u32::from(group)).max(1));
        self.cursor.at = frames.end;
        if frames.end == self.cursor.end {
            (self.cursor.slot, self.cursor.at) = (slot + group, self.cursor.first);
        }
        let start = into.len();
        self.ledger.changed.insert_range(frames.start as usize..frames.end as usize);
        for frame in frames.map(FrameIndex) {
            for slot in (slot..slot + group).map(SlotIndex) {
                self.set_taken(Spot { frame, slot });
                into.push(self.address(Spot { frame, slot }));
            }
        }
        into[start..].reverse();
        Ok(into.len() - start)
    }

    /// Maps and tracks the current run of frames in the lanes of the next group; in as many of them as the system lets it, and one at least.
    fn begin_group(&mut self, tracker: &dyn WriteTracker) -> Result<()> {
        let Cursor { first: frame, end, slot: first, .. } = self.cursor;
        let [in_blocks, in_others] = self.groups;
        let lanes = if end - frame == BLOCK_FRAMES { in_blocks } else { in_others };
        let end = self.layout.slots().min(first + lanes);
        self.begin_lane(tracker, SlotIndex(first))?;
        let others = (first + 1..end).take_while(|slot| self.begin_lane(tracker, SlotIndex(*slot)).is_ok()).count();
        self.cursor.group = 1 + others as u16;
        Ok(())
    }

    /// Maps and tracks the current run of frames in the lane of `slot`.
    fn begin_lane(&mut self, tracker: &dyn WriteTracker, slot: SlotIndex) -> Result<()> {
        let lane = LaneIndex(slot.0 + 1);
        let frames = self.cursor.first..self.cursor.end;
        let range = lane_range(self.mapping.number(), lane, frames.clone());
        self.mapping.map_backed(range.clone(), self.layout.byte_of(slot))?;
        let at = LaneBlock::new(slot, frames.start / BLOCK_FRAMES);
        if self.lane_frames[lane.index()] < frames.end {
            self.track(tracker, lane, range, frames.end)?;
        } else if self.ladder.is_untracked(at) {
            self.track(tracker, lane, range, self.lane_frames[lane.index()])?;
        }
        self.ladder.begin(at);
        Ok(())
    }

    /// Gives `addr` back.
    pub fn give_back(&mut self, addr: u64) {
        let Spot { frame, slot } = crate::arena::locate(self.layout, addr);
        let word = frame.index() * self.layout.mask_words() + slot.index() / 64;
        let bit = 1 << (slot.index() % 64);
        assert!(self.taken[word] & bit != 0, "double free: the slot at {addr:#x} is free already");
        self.taken[word] &= !bit;
        self.ledger.changed.insert(frame);
        self.free.insert(frame);
        if self.taken_words(frame).iter().all(|w| *w == 0) {
            self.emptied.insert(frame);
            // Also if it was there already: it may have been used again, and be the last of its block to become empty.
            self.newly_emptied = true;
        }
    }

    /// The mask of taken slots of `frame`.
    pub fn taken_words(&self, frame: FrameIndex) -> &[u64] {
        let words = self.layout.mask_words();
        &self.taken[frame.index() * words..][..words]
    }

    /// Slots that are taken.
    pub fn taken_slots(&self) -> u64 {
        self.taken.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Bytes of memory that the bookkeeping of this zone takes.
    pub fn memory_bytes(&self) -> usize {
        self.ladder.memory_bytes()
            + self.marks.memory_bytes()
            + self.taken.capacity() * 8
            + self.free.memory_bytes()
            + self.emptied.memory_bytes()
            + self.ledger.memory_bytes()
    }

    /// Checks S2 and S4, and the ladder.
    ///
    /// # Panics
    /// If one of them is broken.
    pub fn check(&self) {
        let slots = u64::from(self.layout.slots());
        let fresh = match self.how {
            Addressing::Lanes => {
                let left =
                    u64::from(self.cursor.end - self.cursor.first) * u64::from(self.layout.slots() - self.cursor.slot);
                let vacant = self.vacant.len() as u64 * u64::from(BLOCK_FRAMES) * slots;
                left - u64::from(self.cursor.at - self.cursor.first) * u64::from(self.cursor.group) + vacant
            }
            Addressing::Dense => 0,
        };
        let mut free = 0;
        for frame in (0..self.frames).map(FrameIndex) {
            let count = u64::from(self.free_slots(frame).count());
            assert_eq!(count > 0, self.free.contains(frame), "S2: zone {} frame {frame}", self.index);
            free += count;
        }
        let all = slots * u64::from(self.frames);
        assert_eq!(self.taken_slots() + free + fresh, all, "S4: zone {}", self.index);
        if self.how == Addressing::Lanes {
            let fresh = |at: LaneBlock| at.slot().0 >= self.handed_out(FrameIndex(at.frames().start));
            self.ladder.check(&self.lane_frames, fresh);
        }
    }

    /// Starts the next run of frames. False when the zone is full.
    fn next_run(&mut self, tracker: &dyn WriteTracker) -> Result<bool> {
        let Range { start: first, end } = self.next_frames();
        if first == end {
            return Ok(false);
        }
        // The dense lane first: this allocates the frames, and the lanes then map what is there.
        let dense = lane_range(self.mapping.number(), LaneIndex(0), first..end);
        if end - first == BLOCK_FRAMES {
            self.collapse(first / BLOCK_FRAMES);
        }
        if !self.ladder.is_huge(first / BLOCK_FRAMES) {
            self.mapping.populate(dense.clone())?;
        }
        if self.how == Addressing::Dense {
            self.track(tracker, LaneIndex(0), dense, end)?;
        }
        self.grow(end.max(self.frames));
        self.vacant.remove(&(first / BLOCK_FRAMES));
        self.cursor = Cursor { first, end, slot: 0, group: 0, at: first };
        if self.how == Addressing::Dense {
            self.cursor.slot = self.layout.slots();
            for frame in (first..end).map(FrameIndex) {
                self.free.insert(frame);
            }
        }
        Ok(true)
    }

    /// The frames of the next run: a vacant block, a new block, or some frames up to the end of a block. Empty when the zone is full.
    fn next_frames(&self) -> Range<u32> {
        if let Some(block) = self.vacant.first() {
            return block_frames(*block);
        }
        let first = self.frames;
        let block = block_frames(first / BLOCK_FRAMES);
        let end = if first == block.start && self.wants_huge_pages() {
            block.end
        } else {
            block.end.min(first + first.clamp(RUN_FRAMES_MIN, RUN_FRAMES_MAX))
        };
        first..end.min(ZONE_FRAMES)
    }

    fn grow(&mut self, frames: u32) {
        self.frames = frames;
        self.taken.resize(frames as usize * self.layout.mask_words(), 0);
        self.ledger.grow(frames);
    }

    fn track(&mut self, tracker: &dyn WriteTracker, lane: LaneIndex, range: Range<u64>, frames: u32) -> Result<()> {
        // SAFETY: the range lies in this zone's mapping (S3, `lane_range` stays within the lane), which lives as long as `self`, and the
        // engine drops the tracker no later than the zones.
        unsafe { tracker.track(range) }.map_err(|e| {
            let what = format!("zone {} lane {lane} up to frame {frames}", self.mapping.number());
            e.context(what)
        })?;
        self.lane_frames[lane.index()] = frames;
        Ok(())
    }

    fn tracked_lanes(&self) -> impl Iterator<Item = LaneIndex> + use<> {
        let lanes = match self.how {
            Addressing::Lanes => 1..self.layout.slots() + 1,
            Addressing::Dense => 0..1,
        };
        lanes.map(LaneIndex)
    }

    /// The slots of `frame` that are neither taken nor fresh.
    #[inline]
    fn free_slots(&self, frame: FrameIndex) -> SlotMask {
        SlotMask::first(self.handed_out(frame)).minus(&SlotMask::from_words(self.taken_words(frame)))
    }

    /// The slots of `frame` below this one are not fresh.
    fn handed_out(&self, frame: FrameIndex) -> u16 {
        if self.is_filling(frame.0) {
            self.cursor.slot + if frame.0 < self.cursor.at { self.cursor.group } else { 0 }
        } else if self.vacant.contains(&(frame.0 / BLOCK_FRAMES)) {
            0
        } else {
            self.layout.slots()
        }
    }

    /// The slots that are handed out with `slot` in a run that is a block.
    fn group_of(&self, slot: SlotIndex) -> SlotMask {
        let [group, _] = self.groups;
        let first = slot.0 / group * group;
        SlotMask::first(self.layout.slots().min(first + group)).minus(&SlotMask::first(first))
    }

    /// Whether `frame` has fresh slots in the current run.
    fn is_filling(&self, frame: u32) -> bool {
        self.cursor.slot < self.layout.slots() && (self.cursor.first..self.cursor.end).contains(&frame)
    }

    /// Takes `slots` of the `free` ones of `frame`, and pushes their addresses.
    fn take_again(&mut self, frame: FrameIndex, free: &SlotMask, slots: &SlotMask, into: &mut Vec<u64>) {
        for slot in slots.iter() {
            self.set_taken(Spot { frame, slot });
            into.push(self.address(Spot { frame, slot }));
        }
        self.ledger.changed.insert(frame);
        if free.minus(slots).is_empty() {
            self.free.remove(frame);
        }
    }

    fn set_taken(&mut self, spot: Spot) {
        let word = spot.frame.index() * self.layout.mask_words() + spot.slot.index() / 64;
        debug_assert_eq!(self.taken[word] & (1 << (spot.slot.index() % 64)), 0, "S1: {spot:?} is taken already");
        self.taken[word] |= 1 << (spot.slot.index() % 64);
    }

    fn address(&self, spot: Spot) -> u64 {
        slot_address(self.mapping.number(), self.layout, self.how, spot)
    }
}
