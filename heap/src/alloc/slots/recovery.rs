//! A [`SlotZone`] as it was recorded.

use super::blocks::FULL_ENOUGH;
use super::{SlotSetup, SlotZone};
use crate::arena::lane_range;
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneBlock, Result, SlotIndex, ZoneIndex, block_frames};
use crate::durable::{Addressing, ZoneCatalog};
use crate::ladder::Site;
use crate::sys::ZoneMapping;
use crate::track::WriteTracker;
use std::ops::Range;

impl SlotZone {
    /// The zone that `catalog` describes, before its contents are loaded: every slot below its high-water frame is taken or free. Nothing is tracked yet
    /// ([`SlotZone::track_recovered`]). Blocks with objects become huge pages where that is possible and wanted, which makes loading them faster as well.
    pub fn recover(index: ZoneIndex, mapping: ZoneMapping, setup: SlotSetup, catalog: &ZoneCatalog) -> Self {
        let mut zone = Self::new(index, mapping, setup);
        zone.grow(catalog.frames);
        zone.taken[..catalog.allocated.len()].copy_from_slice(&catalog.allocated);
        zone.ledger.recover(&catalog.allocated);
        (zone.cursor.first, zone.cursor.end, zone.cursor.at) = (catalog.frames, catalog.frames, catalog.frames);
        let blocks = if zone.wants_huge_pages() { catalog.frames / BLOCK_FRAMES } else { 0 };
        for block in 0..blocks {
            match zone.frames_in_use(block) {
                0 => _ = zone.vacant.insert(block),
                frames if frames >= FULL_ENOUGH => _ = zone.collapse(block),
                // So few of its frames have objects that a huge page would take twice as much memory.
                _ => {}
            }
        }
        zone.collapsed = blocks;
        for frame in (0..catalog.frames).map(FrameIndex) {
            if !zone.free_slots(frame).is_empty() {
                zone.free.insert(frame);
            }
        }
        zone
    }

    /// Tracks and arms the lanes of a recovered zone.
    ///
    /// # Errors
    /// If the operating system refuses to track the lanes.
    pub fn track_recovered(&mut self, tracker: &dyn WriteTracker) -> Result<()> {
        let frames = self.frames;
        // A zone may have been recorded before any of its slots was: then there is nothing to track.
        for lane in self.tracked_lanes().filter(|_| frames > 0) {
            let number = self.mapping.number();
            for block in (0..frames / BLOCK_FRAMES).filter(|block| self.ladder.is_huge(*block)) {
                self.mapping.map_backed(lane_range(number, lane, block_frames(block)), 0)?;
            }
            self.track(tracker, lane, lane_range(number, lane, 0..frames), frames)?;
            if self.how == Addressing::Dense {
                tracker.arm(lane_range(number, lane, 0..frames))?;
                continue;
            }
            for block in 0..frames.div_ceil(BLOCK_FRAMES) {
                let at = LaneBlock::new(SlotIndex(lane.0 - 1), block);
                self.ladder.recover(at, self.vacant.contains(&block));
                if self.ladder.is_huge(block) {
                    let (mapping, taken, lane_frames) = (&self.mapping, &self.taken, &self.lane_frames);
                    self.ladder.keep_sentinel(at, &Site { mapping, tracker, taken, lane_frames, filling: &[] });
                }
            }
            for stretch in self.stretches_in_use(frames) {
                tracker.arm(lane_range(number, lane, stretch))?;
            }
        }
        Ok(())
    }

    /// The frames below `frames` that are in no vacant block.
    fn stretches_in_use(&self, frames: u32) -> Vec<Range<u32>> {
        let mut stretches = Vec::new();
        let mut from = 0;
        for vacant in self.vacant.iter().map(|block| block_frames(*block)) {
            stretches.push(from..vacant.start);
            from = vacant.end;
        }
        stretches.push(from..frames);
        stretches.retain(|stretch| !stretch.is_empty());
        stretches
    }
}
