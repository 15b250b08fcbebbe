//! Units as types, and the constants of the address layout (ARCHITECTURE.md, "One picture of an address").

use std::fmt;

/// Bytes in a frame, and in a virtual page.
pub const PAGE: usize = 4096;
/// log2 of [`PAGE`].
pub const PAGE_SHIFT: u32 = 12;
/// log2 of the bytes of one lane.
pub const LANE_SHIFT: u32 = 30;
/// log2 of the address space of one zone.
pub const ZONE_SHIFT: u32 = 39;
/// Frames in a zone of slots: 1 GiB. Small in the twin, so that running full is common there.
pub const ZONE_FRAMES: u32 = if cfg!(any(miri, strewn_twin)) { 512 } else { 1 << 18 };
/// Frames of a block: what one huge page holds.
pub const BLOCK_FRAMES: u32 = 512;
/// Blocks in a zone of slots.
pub const ZONE_BLOCKS: u32 = ZONE_FRAMES / BLOCK_FRAMES;
/// Pages in a zone of page runs: the whole 512 GiB of its address space.
pub const ZONE_PAGES: u32 = if cfg!(any(miri, strewn_twin)) { 512 } else { 1 << 27 };
/// Zones below this number hold executables, the usual mmap area of sanitizers, and the like.
pub const FIRST_ZONE: u16 = 0x22;
/// One past the last usable zone; above it live the mmap area and the stack.
pub const END_ZONE: u16 = 0xA0;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit!(
    /// A zone of the process's address space: bits 39 and up of its addresses.
    ZoneNumber, u16
);
unit!(
    /// A zone's place in the zone table of its heap, in order of creation.
    ZoneIndex, u16
);
unit!(
    /// One mapping of a zone; 0 is the dense lane, slot j is handed out through lane j + 1.
    LaneIndex, u16
);
unit!(
    /// A frame within its zone; in a zone of page runs, a page within the zone.
    FrameIndex, u32
);
unit!(
    /// One lane of one block of a zone, numbered lane by lane: slot j of 512 neighbouring frames.
    LaneBlock, u32
);
unit!(
    /// One object's place in a frame.
    SlotIndex, u16
);
unit!(
    /// The number of a checkpoint, and the interval that it ends. The first checkpoint is 1.
    Epoch, u64
);

macro_rules! index {
    ($($name:ident)*) => {
        $(impl $name {
            /// The number as an index into a slice.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        })*
    };
}

index!(ZoneNumber ZoneIndex LaneIndex FrameIndex SlotIndex LaneBlock);

/// What an [`IndexSet`](super::IndexSet) can hold.
pub trait Index: Copy {
    /// The one with this number.
    fn at(index: usize) -> Self;
    /// Its number.
    fn index(self) -> usize;
}

macro_rules! member {
    ($($name:ident)*) => {
        $(impl Index for $name {
            #[inline]
            fn at(index: usize) -> Self {
                Self(index as u32)
            }
            #[inline]
            fn index(self) -> usize {
                self.0 as usize
            }
        })*
    };
}

member!(FrameIndex LaneBlock);

impl LaneBlock {
    /// The one that holds `slot` of each frame of `block`.
    #[inline]
    pub fn new(slot: SlotIndex, block: u32) -> Self {
        Self(u32::from(slot.0) * ZONE_BLOCKS + block)
    }

    /// The slot that it holds of each of its frames.
    #[inline]
    pub fn slot(self) -> SlotIndex {
        SlotIndex((self.0 / ZONE_BLOCKS) as u16)
    }

    /// Its block.
    #[inline]
    pub fn block(self) -> u32 {
        self.0 % ZONE_BLOCKS
    }

    /// The frames of its block.
    #[inline]
    pub fn frames(self) -> std::ops::Range<u32> {
        block_frames(self.block())
    }
}

/// The frames of `block`.
#[inline]
pub fn block_frames(block: u32) -> std::ops::Range<u32> {
    block * BLOCK_FRAMES..(block + 1) * BLOCK_FRAMES
}

/// What a zone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneKind {
    /// Slots of one size.
    Slots(SlotLayout),
    /// Runs of whole pages, without lanes.
    Runs,
}

impl ZoneKind {
    /// How many frames (pages) fit into a zone of this kind.
    pub fn capacity(self) -> u32 {
        match self {
            ZoneKind::Slots(_) => ZONE_FRAMES,
            ZoneKind::Runs => ZONE_PAGES,
        }
    }
}

/// How a frame is cut into slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotLayout {
    slot_bytes: u16,
    slots: u16,
}

impl SlotLayout {
    /// The layout for slots of `slot_bytes`, or `None` unless it is a multiple of 16 from 16 to 2048.
    pub const fn new(slot_bytes: u16) -> Option<Self> {
        if slot_bytes == 0 || !slot_bytes.is_multiple_of(16) || slot_bytes as usize > PAGE / 2 {
            return None;
        }
        Some(Self { slot_bytes, slots: (PAGE / slot_bytes as usize) as u16 })
    }

    /// Bytes of one slot.
    #[inline]
    pub const fn slot_bytes(self) -> usize {
        self.slot_bytes as usize
    }

    /// Slots in a frame: 2 to 256.
    #[inline]
    pub const fn slots(self) -> u16 {
        self.slots
    }

    /// 64-bit words in a mask with one bit a slot: 1 to 4.
    #[inline]
    pub const fn mask_words(self) -> usize {
        (self.slots as usize).div_ceil(64)
    }

    /// The byte of the frame at which `slot` starts.
    #[inline]
    pub const fn byte_of(self, slot: SlotIndex) -> usize {
        slot.0 as usize * self.slot_bytes as usize
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn slot_layouts_cover_the_frame_without_overlap() {
        for bytes in (16..=2048).step_by(16) {
            let layout = SlotLayout::new(bytes).unwrap();
            let last = SlotIndex(layout.slots() - 1);
            assert!(layout.byte_of(last) + layout.slot_bytes() <= PAGE);
            assert!((layout.slots() as usize + 1) * layout.slot_bytes() > PAGE);
            assert!((1..=4).contains(&layout.mask_words()));
        }
    }

    #[test]
    fn slot_layouts_refuse_other_sizes() {
        for bytes in [0, 8, 17, 2064, 4096] {
            assert_eq!(SlotLayout::new(bytes), None);
        }
    }
}
