//! [`Folded`]: which frames the image is sure to have as they were recorded last, and comparing with them what may not have changed at all.
//!
//! 1. A frame of which neither log segment has an item is in the image as it was recorded last: a segment becomes active only after the one before the last was folded.
//!    Folding the sealed one leaves such a frame alone. So its bytes may be compared at any moment; and what comes out depends on the records alone.
//! 2. A slot whose bytes are those in the image need not be recorded: with and without it, what recovery finds after this record is the same. Whatever cannot be read, or
//!    may not be compared, counts as changed.
//!
//! Must not: write.

use super::format::{CHUNK_FRAMES, names};
use super::items::Item;
use super::record::Record;
use super::segment::Segment;
use super::storage::{Storage, StorageFile, read_zero_filled};
use crate::base::{FrameIndex, FrameSet, PAGE, Result, SlotIndex, SlotMask, ZoneIndex};
use std::sync::Arc;

/// A spare buffer up to this size is kept.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Frames with an item, by zone.
#[derive(Debug, Default)]
struct Frames(Vec<FrameSet>);

impl Frames {
    fn note(&mut self, item: &Item<'_>) {
        if let Item::Frame { zone, frame, .. } = item {
            if zone.index() >= self.0.len() {
                self.0.resize_with(zone.index() + 1, FrameSet::default);
            }
            self.0[zone.index()].insert(*frame);
        }
    }

    fn contains(&self, zone: ZoneIndex, frame: FrameIndex) -> bool {
        self.0.get(zone.index()).is_some_and(|frames| frames.contains(frame))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Folded {
    sealed: Frames,
    active: Frames,
    /// For encoding the next record that is sifted.
    spare: Vec<u8>,
}

/// What sifting a record found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Slots that may have changed.
    pub suspects: u64,
    /// Those of them that had not, and were left out.
    pub unchanged: u64,
}

impl Folded {
    /// The segments that a store was opened with: a sealed one, if there is, and the active one.
    pub fn recover(segments: &[Segment]) -> Result<Self> {
        let mut folded = Self::default();
        for segment in segments {
            folded.rotate();
            segment.for_each_item(|_, item| {
                folded.active.note(item);
                Ok(())
            })?;
        }
        Ok(folded)
    }

    /// The active segment is sealed, and the one that was sealed before is folded.
    pub fn rotate(&mut self) {
        self.sealed = std::mem::take(&mut self.active);
    }

    /// `record` was appended to the active segment.
    pub fn note(&mut self, record: &Record) {
        record.items().flatten().for_each(|item| self.active.note(&item));
    }

    /// Leaves out of `record` what has not changed.
    pub fn sift(&mut self, storage: &dyn Storage, record: &mut Record) -> Sifted {
        let mut sifted = Sifted::default();
        let mut image = Chunk { storage, zone: None, file: None, first: 0, bytes: Vec::new() };
        let old = record.sift(std::mem::take(&mut self.spare), |zone, layout, frame, slots, bytes| {
            sifted.suspects += u64::from(slots.count());
            if self.sealed.contains(zone, frame) || self.active.contains(zone, frame) {
                return *slots;
            }
            let Some(before) = image.frame(zone, frame) else { return *slots };
            let differs = |slot: &SlotIndex| {
                let place = layout.byte_of(*slot)..layout.byte_of(*slot) + layout.slot_bytes();
                before[place.clone()] != bytes[place]
            };
            let changed: SlotMask = slots.iter().filter(differs).collect();
            sifted.unchanged += u64::from(slots.count() - changed.count());
            changed
        });
        if old.capacity() <= SPARE_BYTES_MAX {
            self.spare = old;
        }
        sifted
    }
}

/// Some neighbouring frames of the image, as one read found them.
struct Chunk<'a> {
    storage: &'a dyn Storage,
    zone: Option<ZoneIndex>,
    file: Option<Arc<dyn StorageFile>>,
    first: u32,
    bytes: Vec<u8>,
}

impl Chunk<'_> {
    /// The bytes of `frame`; None if they cannot be read.
    fn frame(&mut self, zone: ZoneIndex, frame: FrameIndex) -> Option<&[u8]> {
        if self.zone != Some(zone) {
            self.bytes.clear();
            (self.zone, self.file) = (Some(zone), self.storage.open_file(&names::zone(zone.index())).ok()?);
        }
        let loaded = self.first..self.first + (self.bytes.len() / PAGE) as u32;
        if !loaded.contains(&frame.0) {
            self.first = frame.0 / CHUNK_FRAMES * CHUNK_FRAMES;
            self.bytes.resize(CHUNK_FRAMES as usize * PAGE, 0);
            let read = read_zero_filled(&**self.file.as_ref()?, u64::from(self.first) * PAGE as u64, &mut self.bytes);
            if read.is_err() {
                self.bytes.clear();
                return None;
            }
        }
        Some(&self.bytes[(frame.0 - self.first) as usize * PAGE..][..PAGE])
    }
}
