//! Which slots are taken.

use super::SlotZone;
use crate::arena::Spot;
use crate::base::{FrameIndex, SlotMask};

impl SlotZone {
    /// Whether the slot at `spot` is taken: allocated, or in a thread's cache.
    pub fn is_taken(&self, spot: Spot) -> bool {
        spot.frame.0 < self.frames && SlotMask::from_words(self.taken_words(spot.frame)).contains(spot.slot)
    }

    /// Calls `visit` with the address of each slot that is taken.
    pub fn each_taken(&self, mut visit: impl FnMut(u64)) {
        for frame in (0..self.frames).map(FrameIndex) {
            for slot in SlotMask::from_words(self.taken_words(frame)).iter() {
                visit(self.address(Spot { frame, slot }));
            }
        }
    }
}
