//! [`Costs`]: what each rung costs a lane-block in an epoch, in nanoseconds, from measured constants.
//!
//! Measured on a virtual machine with 2 cores and Linux 6.18, by the scenarios `ladder`, `first-write` and `checkpoint-bytes`. Only their ratios matter, and
//! those are within a factor of two elsewhere: where two rungs cost about the same, it does not matter which is chosen.

use crate::base::{BLOCK_FRAMES, SlotLayout};
use crate::track::TrackerKind;

/// Scanning the page table of a sparse lane-block.
const SCAN_SPARSE: f32 = 1_000.0;
/// Scanning the one entry of a cold lane-block.
const SCAN_COLD: f32 = 70.0;
/// The first write of a slot in an epoch, caught by the kernel, and arming it again.
const FAULT_ASYNC: f32 = 1_100.0;
/// The same, caught by a signal.
const FAULT_SIGNAL: f32 = 11_000.0;
/// The first write to a cold lane-block, and arming it again.
const WAKE: f32 = 3_200.0;
/// Copying a slot into the record, besides its bytes.
const COPY_SLOT: f32 = 10.0;
/// Copying it if it is the only one of its frame.
const COPY_LONE_SLOT: f32 = 40.0;
/// Copying, checksumming, logging and folding a byte.
const COPY_BYTE: f32 = 1.0;
/// Comparing a slot, besides its bytes.
const COMPARE_SLOT: f32 = 16.0;
/// Comparing a byte.
const COMPARE_BYTE: f32 = 0.1;

/// More than any rung costs.
const UNAVAILABLE: f32 = 1e9;

/// What the rungs cost for slots of one size, with one tracker.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    fault: f32,
    copy: f32,
    compare: f32,
    /// Whether a lane-block can be armed as a whole.
    coarse: bool,
}

impl Costs {
    /// The costs for slots of `layout`, watched by `tracker`; whether lane-blocks can be `coarse`.
    pub fn new(layout: SlotLayout, tracker: TrackerKind, coarse: bool) -> Self {
        let bytes = layout.slot_bytes() as f32;
        Self {
            fault: if tracker == TrackerKind::Signal { FAULT_SIGNAL } else { FAULT_ASYNC },
            copy: COPY_SLOT + bytes * COPY_BYTE,
            compare: COMPARE_SLOT + bytes * COMPARE_BYTE,
            coarse,
        }
    }

    /// Sparse, with `written` of its slots written.
    pub fn sparse(&self, written: f32) -> f32 {
        SCAN_SPARSE + written * (self.fault + self.copy + COPY_LONE_SLOT - COPY_SLOT)
    }

    /// Whether lane-blocks can be cold.
    pub fn is_coarse(&self) -> bool {
        self.coarse
    }

    /// Cold, with `written` of its slots written.
    pub fn cold(&self, written: f32) -> f32 {
        if !self.coarse {
            return UNAVAILABLE;
        }
        if written > 0.0 { WAKE + self.taken_whole(written) } else { SCAN_COLD }
    }

    /// Hot and copied, with `written` of its slots written.
    pub fn copied(&self, written: f32) -> f32 {
        self.all(self.compare) + self.taken_whole(written)
    }

    /// Hot and compared, with `written` of its slots changed.
    pub fn compared(&self, written: f32) -> f32 {
        self.all(self.compare) + written * self.copy
    }

    /// Copying all slots. Where few of them are written, few of their neighbours in the frames are, most likely.
    fn taken_whole(&self, written: f32) -> f32 {
        self.all(self.copy) + (BLOCK_FRAMES as f32 - written) * (COPY_LONE_SLOT - COPY_SLOT)
    }

    fn all(&self, slot: f32) -> f32 {
        slot * BLOCK_FRAMES as f32
    }
}
