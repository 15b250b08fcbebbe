//! [`Folded`]: which slots the image is sure to have as they were recorded last, and comparing with them what may not have changed at all.
//!
//! 1. A slot that neither log segment changes is in the image as it was recorded last: a segment becomes active only after the one before the last was folded. Folding the sealed
//!    one may write its frame, but that slot with the bytes that are there (`image.rs`). So they may be compared at any moment; and what comes out depends on the records since the
//!    heap was opened alone. A segment that makes all of a frame zeros changes all its slots.
//! 2. A slot whose bytes are those in the image need not be recorded: with and without it, what recovery finds after this record is the same. Whatever cannot be read, or
//!    may not be compared, counts as changed.
//!
//! Must not: write.

use super::format::{CHUNK_FRAMES, names};
use super::items::Item;
use super::record::Record;
use super::segment::Segment;
use super::storage::{Storage, StorageFile, read_zero_filled};
use crate::base::{BLOCK_FRAMES, Canary, FrameIndex, PAGE, Result, SlotIndex, SlotLayout, SlotMask, ZoneIndex, canary};
use std::collections::HashMap;
use std::sync::Arc;

/// A spare buffer up to this size is kept.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// Slots that a segment has in an item, block by block of frames, so that memory grows with what is in the log: a bit for each slot of a block.
#[derive(Debug, Default)]
struct Logged(HashMap<(ZoneIndex, u32), Box<[u64]>>);

impl Logged {
    fn note(&mut self, item: &Item<'_>) {
        if let Item::Frame { zone, layout, frame, dirty, allocated, .. } = item {
            // A frame without a slot becomes zeros, all of it, when the segment is folded.
            let emptied = allocated.is_some_and(|slots| slots.is_empty());
            let slots = if emptied { SlotMask::first(layout.slots()) } else { *dirty };
            let words = layout.mask_words();
            let block = self.0.entry((*zone, frame.0 / BLOCK_FRAMES));
            let block = block.or_insert_with(|| vec![0; words * BLOCK_FRAMES as usize].into());
            let at = (frame.0 % BLOCK_FRAMES) as usize * words;
            block[at..at + words].iter_mut().zip(slots.words()).for_each(|(word, more)| *word |= more);
        }
    }

    fn slots(&self, zone: ZoneIndex, layout: SlotLayout, frame: FrameIndex) -> SlotMask {
        let words = layout.mask_words();
        let at = (frame.0 % BLOCK_FRAMES) as usize * words;
        let block = self.0.get(&(zone, frame.0 / BLOCK_FRAMES));
        block.map_or(SlotMask::EMPTY, |block| SlotMask::from_words(&block[at..at + words]))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Folded {
    sealed: Logged,
    active: Logged,
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
            let logged = self.sealed.slots(zone, layout, frame).or(&self.active.slots(zone, layout, frame)).and(slots);
            let logged = if canary(Canary::ComparedWithOldImage) { SlotMask::EMPTY } else { logged };
            let in_image = slots.minus(&logged);
            if in_image.is_empty() {
                return *slots;
            }
            let Some(before) = image.frame(zone, frame) else { return *slots };
            let differs = |slot: &SlotIndex| {
                let place = layout.byte_of(*slot)..layout.byte_of(*slot) + layout.slot_bytes();
                before[place.clone()] != bytes[place]
            };
            let changed = logged.or(&in_image.iter().filter(differs).collect());
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
        let file = self.file.as_ref()?;
        let loaded = self.first..self.first + (self.bytes.len() / PAGE) as u32;
        if !loaded.contains(&frame.0) {
            self.first = frame.0 / CHUNK_FRAMES * CHUNK_FRAMES;
            self.bytes.resize(CHUNK_FRAMES as usize * PAGE, 0);
            let read = read_zero_filled(&**file, u64::from(self.first) * PAGE as u64, &mut self.bytes);
            if read.is_err() {
                self.bytes.clear();
                return None;
            }
        }
        Some(&self.bytes[(frame.0 - self.first) as usize * PAGE..][..PAGE])
    }
}
