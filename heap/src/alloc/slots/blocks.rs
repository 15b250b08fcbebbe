//! Blocks of a [`SlotZone`]: when they become huge pages, and when their memory goes back to the system.

use super::SlotZone;
use crate::arena::lane_range;
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneIndex, PAGE, block_frames};
use crate::ladder::{Mapping, Site};
use crate::track::WriteTracker;
use std::ops::Range;

/// Frames of a block that must have objects for the block to be made a huge page, which then has memory for all of them: at most twice as much.
pub(super) const FULL_ENOUGH: u32 = BLOCK_FRAMES / 2;
/// Checkpoints at which a block is asked to become a huge page while its pages are busy.
const BUSY_MAX: u32 = 64;

impl SlotZone {
    /// Returns the memory of frames without a taken slot to the operating system, in stretches of at least `frames_min`. Best effort: what it does not
    /// take stays with the heap, free.
    pub fn punch_empty(&mut self, tracker: &dyn WriteTracker, frames_min: u32) {
        if !std::mem::take(&mut self.newly_emptied) {
            return;
        }
        let mut next = FrameIndex(0);
        while let Some(first) = self.emptied.next_at_or_after(next) {
            let whole = (first.0 / BLOCK_FRAMES + 1) * BLOCK_FRAMES <= self.frames;
            if whole
                && self.is_handed_out_by_lanes(first.0 / BLOCK_FRAMES)
                && self.frames_in_use(first.0 / BLOCK_FRAMES) == 0
                || self.ladder.is_huge(first.0 / BLOCK_FRAMES)
            {
                next = FrameIndex(self.punch_block(tracker, first.0 / BLOCK_FRAMES));
                continue;
            }
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

    /// Returns the memory of a block that is a huge page, if no slot of it is taken. Best effort. Returns the frame after it.
    fn punch_block(&mut self, tracker: &dyn WriteTracker, block: u32) -> u32 {
        let frames = block_frames(block);
        let filling = self.is_block_filling(block) || frames.end > self.frames;
        let (at, len) = (u64::from(frames.start) * PAGE as u64, frames.len() as u64 * PAGE as u64);
        if filling || self.frames_in_use(block) > 0 || self.mapping.punch(at, len).is_err() {
            return frames.end;
        }
        let site =
            Site { mapping: &self.mapping, tracker, taken: &self.taken, lane_frames: &self.lane_frames, filling: &[] };
        self.ladder.vacate(block, &site);
        self.vacant.insert(block);
        for frame in frames.clone().map(FrameIndex) {
            self.emptied.remove(frame);
            self.free.remove(frame);
            self.ledger.mark_emptied(frame);
        }
        frames.end
    }

    /// Makes huge pages of blocks that were filled page by page. Best effort: a block that the kernel refuses is not tried again, one whose pages are busy
    /// is tried [`BUSY_MAX`] times, once a call. Blocks that were recovered, or filled again, are not asked here.
    pub fn collapse_filled(&mut self) {
        if !self.wants_huge_pages() {
            return;
        }
        for block in self.collapsed..self.frames / BLOCK_FRAMES {
            if self.is_block_filling(block) {
                return;
            }
            let asks = !self.ladder.is_huge(block) && self.frames_in_use(block) >= FULL_ENOUGH;
            if asks && !self.collapse(block) && self.refusals + 1 < BUSY_MAX {
                self.refusals += 1;
                return;
            }
            (self.collapsed, self.refusals) = (block + 1, 0);
        }
    }

    /// Whether the current run, which may be a part of a block only, lies in `block` and has fresh slots.
    fn is_block_filling(&self, block: u32) -> bool {
        self.cursor.slot < self.layout.slots() && self.cursor.first / BLOCK_FRAMES == block
    }

    /// Whether blocks of this zone are to be huge pages, now that it has as many frames as it has.
    pub(super) fn wants_huge_pages(&self) -> bool {
        self.coarse && (self.mapping_asked == Mapping::Huge || self.frames >= BLOCK_FRAMES)
    }

    /// Makes a huge page of `block`, if the kernel gives one. False if it may give one later.
    pub(super) fn collapse(&mut self, block: u32) -> bool {
        let dense = lane_range(self.mapping.number(), LaneIndex(0), block_frames(block));
        let outcome = self.mapping.collapse(dense);
        self.ladder.set_huge(block, matches!(outcome, Ok(true)));
        !matches!(outcome, Ok(false))
    }

    /// Frames of `block` with a taken slot.
    pub(super) fn frames_in_use(&self, block: u32) -> u32 {
        let words = self.layout.mask_words();
        let frames = block_frames(block);
        // The last block of a recovered zone may not be all there.
        let end = frames.end.min(self.frames);
        let masks = self.taken[frames.start as usize * words..end as usize * words].chunks(words);
        masks.filter(|mask| mask.iter().any(|word| *word != 0)).count() as u32
    }

    /// Whether the slots of `block` are handed out lane-block by lane-block. Whether the kernel had a huge page to give does not matter: the same operations
    /// give the same addresses.
    pub(super) fn is_handed_out_by_lanes(&self, block: u32) -> bool {
        self.coarse && (block > 0 || self.mapping_asked == Mapping::Huge)
    }

    /// The stretch of emptied frames that starts at `first`, as far as they are still empty.
    fn empty_stretch(&self, first: FrameIndex) -> Range<u32> {
        let mut end = first.0;
        while self.emptied.contains(FrameIndex(end))
            && self.taken_words(FrameIndex(end)).iter().all(|w| *w == 0)
            && !self.is_filling(end)
            && !self.ladder.is_huge(end / BLOCK_FRAMES)
        {
            end += 1;
        }
        first.0..end
    }
}
