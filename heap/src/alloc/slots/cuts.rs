//! What a cut asks of a [`SlotZone`]: what was written, and steps on the ladder.

use super::SlotZone;
use crate::arena::lane_range;
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneBlock, LaneIndex, PAGE_SHIFT, Result, SlotIndex, SlotMask};
use crate::durable::Addressing;
use crate::ladder::{LadderStats, Site};
use crate::track::WriteTracker;

/// A zone with fewer cold lane-blocks has all of them scanned in the pause: 70 ns each.
const COLD_BESIDE_MIN: u64 = if cfg!(test) { 2 } else { 1024 };

impl SlotZone {
    /// Tells the ledger what was marked in this zone, and what the tracker found, since the last time. The world is stopped.
    ///
    /// # Errors
    /// What the tracker reports. What was found by then is in the ledger.
    pub fn harvest(&mut self, tracker: &dyn WriteTracker) -> Result<()> {
        if self.how == Addressing::Dense {
            return self.harvest_dense(tracker);
        }
        let Self { marks, ladder, ledger, taken, lane_frames, .. } = self;
        // SAFETY: the world is stopped, as the caller says.
        unsafe {
            marks.take(lane_frames, |marked| {
                let slot = marked.at.slot();
                marked.frames().for_each(|frame| ledger.mark_dirty(frame, slot));
                ladder.keep_up(&marked, taken);
            });
        }
        ladder.harvest(tracker, lane_frames, |slot, frames| ledger.mark_slot_dirty(frames, slot))
    }

    /// First half of scanning cold lane-blocks beside the running program: see [`Ladder::vouch`]. Looks at one lane. False if there is no such lane.
    pub fn vouch(&mut self, tracker: &dyn WriteTracker, slot: SlotIndex) -> bool {
        if slot.0 == 0 {
            self.ladder.vouch_for_nothing();
        }
        if self.how == Addressing::Dense || self.ladder.cold(&self.lane_frames) < COLD_BESIDE_MIN {
            return false;
        }
        let Some(&frames) = self.lane_frames.get(usize::from(slot.0) + 1) else { return false };
        let ledger = &mut self.ledger;
        self.ladder.vouch(tracker, slot, frames, |slot, frames| ledger.mark_slot_dirty(frames, slot));
        true
    }

    /// Second half: see [`Ladder::confirm`]. None if there is no such lane, or nothing to confirm.
    pub fn confirm(&mut self, tracker: &dyn WriteTracker, slot: SlotIndex) -> Option<bool> {
        if !self.ladder.vouches() {
            return None;
        }
        let frames = *self.lane_frames.get(usize::from(slot.0) + 1)?;
        let ledger = &mut self.ledger;
        Some(self.ladder.confirm(tracker, slot, frames, |slot, frames| ledger.mark_slot_dirty(frames, slot)))
    }

    fn harvest_dense(&mut self, tracker: &dyn WriteTracker) -> Result<()> {
        let (all, ledger) = (SlotMask::first(self.layout.slots()), &mut self.ledger);
        let range = lane_range(self.mapping.number(), LaneIndex(0), 0..self.lane_frames[0]);
        if range.is_empty() {
            return Ok(());
        }
        let base = range.start;
        tracker.harvest(range, &mut |written| {
            let frame = |addr: u64| ((addr - base) >> PAGE_SHIFT) as u32;
            for frame in (frame(written.start)..frame(written.end)).map(FrameIndex) {
                ledger.mark_all_dirty(frame, &all);
            }
        })
    }

    /// Lets each lane-block step to another rung of the ladder, and tells the ledger what was found out by looking. The world is stopped, and the zone
    /// has been harvested.
    pub fn climb(&mut self, tracker: &dyn WriteTracker) {
        if self.how == Addressing::Dense {
            return;
        }
        let (cursor, ledger) = (self.cursor, &mut self.ledger);
        let is_filling = cursor.slot < self.layout.slots() && cursor.at > cursor.first;
        let slots = if is_filling { cursor.slot..cursor.slot + cursor.group } else { 0..0 };
        let filling: Vec<_> = slots.map(|slot| LaneBlock::new(SlotIndex(slot), cursor.first / BLOCK_FRAMES)).collect();
        let site = Site {
            mapping: &self.mapping,
            tracker,
            taken: &self.taken,
            lane_frames: &self.lane_frames,
            filling: &filling,
        };
        self.ladder.climb(&site, |slot, frames| ledger.mark_slot_dirty(frames, slot));
    }

    /// What the zone's ladder counts.
    pub fn ladder_stats(&self) -> LadderStats {
        if self.how == Addressing::Dense { LadderStats::default() } else { self.ladder.stats(&self.lane_frames) }
    }
}
