//! [`SlotZone`]: the slots of one zone. Which are taken, which are free, and which have never been handed out.
//!
//! Invariants:
//! - S1. A slot is taken, free or fresh. Fresh slots lie beyond the cursor: in later lanes of the current run of frames, or in later runs.
//! - S2. `free` holds exactly the frames that have a free slot (not taken, not fresh).
//! - S3. Lane l is mapped and tracked for exactly the frames below `lane_frames[l]`; a slot is handed out only there.
//! - S4. taken + free + fresh slots below the end of the current run == slots of these frames (see [`SlotZone::check`]).
//!
//! Fresh slots are handed out by runs of frames: all frames of a run through lane 1, then all through lane 2, and so on. Sequential
//! reads through lanes are fastest for runs of about 64 frames (ARCHITECTURE.md, "Reading"); a zone starts with runs of 8 so that a heap
//! with few objects stays small.

use super::ledger::Ledger;
use crate::arena::{Spot, lane_range, slot_address};
use crate::base::{FrameIndex, FrameSet, LaneIndex, PAGE, Result, SlotIndex, SlotLayout, SlotMask};
use crate::base::{ZONE_FRAMES, ZoneIndex};
use crate::durable::{Addressing, ZoneCatalog};
use crate::sys::ZoneMapping;
use crate::track::WriteTracker;
use std::ops::Range;

const RUN_FRAMES_MIN: u32 = 8;
const RUN_FRAMES_MAX: u32 = 64;

/// Where the next fresh slots come from.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The frames of the current run.
    first: u32,
    end: u32,
    /// The next slot to hand out in each frame of the run; at `slots` the run is used up.
    slot: u16,
}

/// One zone of slots of one size.
pub struct SlotZone {
    /// Its place in the heap's zone table.
    pub index: ZoneIndex,
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
    /// Frames that lost their last taken slot and may be punched out.
    emptied: FrameSet,
    /// Whether one was added since they were last looked at.
    newly_emptied: bool,
}

impl SlotZone {
    /// An empty zone in `mapping`.
    pub fn new(index: ZoneIndex, mapping: ZoneMapping, layout: SlotLayout, how: Addressing) -> Self {
        let lanes = match how {
            Addressing::Lanes => layout.slots() + 1,
            Addressing::Dense => 1,
        };
        Self {
            index,
            mapping,
            ledger: Ledger::new(layout),
            layout,
            how,
            taken: Vec::new(),
            free: FrameSet::default(),
            cursor: Cursor { first: 0, end: 0, slot: layout.slots() },
            lane_frames: vec![0; usize::from(lanes)],
            emptied: FrameSet::default(),
            newly_emptied: false,
        }
    }

    /// The zone that `catalog` describes: every slot below its high-water frame is taken or free, and the lanes are armed.
    ///
    /// # Errors
    /// If the operating system refuses to track the lanes.
    pub fn recover(
        index: ZoneIndex,
        mapping: ZoneMapping,
        how: Addressing,
        layout: SlotLayout,
        catalog: &ZoneCatalog,
        tracker: &dyn WriteTracker,
    ) -> Result<Self> {
        let mut zone = Self::new(index, mapping, layout, how);
        zone.grow(catalog.frames);
        zone.taken[..catalog.allocated.len()].copy_from_slice(&catalog.allocated);
        zone.ledger.recover(&catalog.allocated);
        zone.cursor.first = catalog.frames;
        zone.cursor.end = catalog.frames;
        for frame in (0..catalog.frames).map(FrameIndex) {
            if !zone.free_slots(frame).is_empty() {
                zone.free.insert(frame);
            }
        }
        // A zone may have been recorded before any of its slots was: then there is nothing to track.
        for lane in zone.tracked_lanes().filter(|_| catalog.frames > 0) {
            let range = lane_range(zone.mapping.number(), lane, 0..catalog.frames);
            zone.track(tracker, lane, range.clone(), catalog.frames)?;
            tracker.arm(range)?;
        }
        Ok(zone)
    }

    /// How frames are cut here.
    pub fn layout(&self) -> SlotLayout {
        self.layout
    }

    /// The lanes that are tracked, with the frames tracked in each.
    pub fn lanes(&self) -> impl Iterator<Item = (LaneIndex, u32)> + use<'_> {
        self.tracked_lanes().map(|lane| (lane, self.lane_frames[lane.index()]))
    }

    /// Takes up to `limit` free slots and pushes their addresses, the lowest last. Returns how many.
    pub fn take_free(&mut self, limit: usize, into: &mut Vec<u64>) -> usize {
        let start = into.len();
        while into.len() - start < limit {
            let Some(frame) = self.free.first() else { break };
            let free = self.free_slots(frame);
            for slot in free.iter().take(limit - (into.len() - start)) {
                self.take(Spot { frame, slot });
                into.push(self.address(Spot { frame, slot }));
            }
            if self.free_slots(frame).is_empty() {
                self.free.remove(frame);
            }
        }
        into[start..].reverse();
        into.len() - start
    }

    /// Takes the next batch of fresh slots: one for each frame of the current run. Returns how many: 0 when the zone is full.
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
        let slot = SlotIndex(self.cursor.slot);
        let lane = LaneIndex(slot.0 + 1);
        let frames = self.cursor.first..self.cursor.end;
        let range = lane_range(self.mapping.number(), lane, frames.clone());
        self.mapping.map_backed(range.clone(), self.layout.byte_of(slot))?;
        self.track(tracker, lane, range, frames.end)?;
        self.cursor.slot += 1;
        let start = into.len();
        for frame in frames.map(FrameIndex) {
            self.take(Spot { frame, slot });
            into.push(self.address(Spot { frame, slot }));
        }
        into[start..].reverse();
        Ok(into.len() - start)
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
            self.newly_emptied |= self.emptied.insert(frame);
        }
    }

    /// Whether the slot at `addr`, an address of this zone, is taken.
    pub fn is_taken(&self, addr: u64) -> bool {
        let Spot { frame, slot } = crate::arena::locate(self.layout, addr);
        frame.0 < self.cursor.end && SlotMask::from_words(self.taken_words(frame)).contains(slot)
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

    /// Returns the memory of frames without a taken slot to the operating system, in stretches of at least `frames_min`. Best effort: what it does not
    /// take stays with the heap, free.
    pub fn punch_empty(&mut self, frames_min: u32) {
        if !std::mem::take(&mut self.newly_emptied) {
            return;
        }
        let mut next = FrameIndex(0);
        while let Some(first) = self.emptied.next_at_or_after(next) {
            if self.taken_words(first).iter().any(|w| *w != 0) {
                self.emptied.remove(first);
            }
            let stretch = self.empty_stretch(first);
            next = FrameIndex(stretch.end.max(first.0 + 1));
            // Shorter stretches wait for their neighbours.
            if stretch.len() >= frames_min as usize {
                let (at, len) = (u64::from(stretch.start) * PAGE as u64, stretch.len() as u64 * PAGE as u64);
                let _ = self.mapping.punch(at, len);
                for frame in stretch.map(FrameIndex) {
                    self.emptied.remove(frame);
                    self.ledger.mark_emptied(frame);
                }
            }
        }
    }

    /// Bytes of memory that the bookkeeping of this zone takes.
    pub fn memory_bytes(&self) -> usize {
        self.taken.capacity() * 8 + self.free.memory_bytes() + self.emptied.memory_bytes() + self.ledger.memory_bytes()
    }

    /// Checks S2 and S4.
    ///
    /// # Panics
    /// If one of them is broken.
    pub fn check(&self) {
        let slots = u64::from(self.layout.slots());
        let fresh = match self.how {
            Addressing::Lanes => {
                u64::from(self.cursor.end - self.cursor.first) * u64::from(self.layout.slots() - self.cursor.slot)
            }
            Addressing::Dense => 0,
        };
        let mut free = 0;
        for frame in (0..self.cursor.end).map(FrameIndex) {
            let count = u64::from(self.free_slots(frame).count());
            assert_eq!(count > 0, self.free.contains(frame), "S2: zone {} frame {frame}", self.index);
            free += count;
        }
        let all = slots * u64::from(self.cursor.end);
        assert_eq!(self.taken_slots() + free + fresh, all, "S4: zone {}", self.index);
    }

    /// The stretch of emptied frames that starts at `first`, as far as they are still empty.
    fn empty_stretch(&self, first: FrameIndex) -> Range<u32> {
        let mut end = first.0;
        while self.emptied.contains(FrameIndex(end))
            && self.taken_words(FrameIndex(end)).iter().all(|w| *w == 0)
            && (end < self.cursor.first || self.cursor.slot == self.layout.slots())
        {
            end += 1;
        }
        first.0..end
    }

    /// Starts the next run of frames. False when the zone is full.
    fn next_run(&mut self, tracker: &dyn WriteTracker) -> Result<bool> {
        let first = self.cursor.end;
        let end = (first + first.clamp(RUN_FRAMES_MIN, RUN_FRAMES_MAX)).min(ZONE_FRAMES);
        if first == end {
            return Ok(false);
        }
        // The dense lane first: this allocates the frames, and the lanes then map what is there.
        let dense = lane_range(self.mapping.number(), LaneIndex(0), first..end);
        self.mapping.populate(dense.clone())?;
        if self.how == Addressing::Dense {
            self.track(tracker, LaneIndex(0), dense, end)?;
        }
        self.grow(end);
        self.cursor = Cursor { first, end, slot: 0 };
        if self.how == Addressing::Dense {
            self.cursor.slot = self.layout.slots();
            for frame in (first..end).map(FrameIndex) {
                self.free.insert(frame);
            }
        }
        Ok(true)
    }

    fn grow(&mut self, frames: u32) {
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
    fn free_slots(&self, frame: FrameIndex) -> SlotMask {
        let handed_out = if self.how == Addressing::Lanes && frame.0 >= self.cursor.first && frame.0 < self.cursor.end {
            self.cursor.slot
        } else {
            self.layout.slots()
        };
        SlotMask::first(handed_out).minus(&SlotMask::from_words(self.taken_words(frame)))
    }

    fn take(&mut self, spot: Spot) {
        let word = spot.frame.index() * self.layout.mask_words() + spot.slot.index() / 64;
        debug_assert_eq!(self.taken[word] & (1 << (spot.slot.index() % 64)), 0, "S1: {spot:?} is taken already");
        self.taken[word] |= 1 << (spot.slot.index() % 64);
        self.ledger.changed.insert(spot.frame);
    }

    fn address(&self, spot: Spot) -> u64 {
        slot_address(self.mapping.number(), self.layout, self.how, spot)
    }
}
