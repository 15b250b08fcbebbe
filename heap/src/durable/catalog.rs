//! [`Catalog`]: what the image holds besides bytes: zones, allocation bitmaps, runs, checksums, roots.
//!
//! 1. `catalog.zones[i]` is the zone with index i.
//! 2. In a zone of slots, `allocated` has `frames * mask_words` words; in a zone of runs it is empty. `crcs` has at most `frames` entries: those at its
//!    end may be missing, and are then those of zeros. So what a log says of pages costs nothing for each page, and a zone of slots a bitmap for each frame.
//! 3. Runs do not overlap, are not empty, and end at or below `frames`.
//! 4. A frame without an allocated slot, and a page outside of every run, is zeros by definition: its bytes in the
//!    image file are never looked at, and its checksum is that of zeros once it is folded.
//! 5. There are no more zones than a process has room for, so that what is per zone stays bounded, whatever the files say.
//!
//! Must not: do I/O, or hold contents.

use std::collections::BTreeMap;

use super::extents::Extents;
use super::format::ZERO_PAGE_CRC;
use super::items::Item;
use super::record::RootEntry;
use crate::base::{END_ZONE, FIRST_ZONE, FrameIndex, SlotMask, ZoneIndex, ZoneKind, ZoneNumber};

/// As many zones fit into the address space of a process.
const ZONES_MAX: usize = (END_ZONE - FIRST_ZONE) as usize;

/// Everything durable but the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The zones, by index.
    pub zones: Vec<ZoneCatalog>,
    /// The root table.
    pub roots: Vec<RootEntry>,
}

/// What is known of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCatalog {
    /// Its place in the address space.
    pub number: ZoneNumber,
    /// What it holds.
    pub kind: ZoneKind,
    /// High-water mark: frames (pages) at or beyond it were never used.
    pub frames: u32,
    /// Allocation bitmaps, `mask_words` words a frame; empty in a zone of runs.
    pub allocated: Vec<u64>,
    /// crc32c of each frame (page) in the image, which lags behind the log; see [`crc`](Self::crc).
    pub crcs: Vec<u32>,
    /// Allocated runs: first page to number of pages.
    pub runs: BTreeMap<u32, u32>,
    /// The pages of all runs.
    covered: Extents,
}

impl Catalog {
    /// Allocated objects.
    pub fn live_objects(&self) -> u64 {
        let in_zone = |zone: &ZoneCatalog| {
            zone.allocated.iter().map(|word| u64::from(word.count_ones())).sum::<u64>() + zone.runs.len() as u64
        };
        self.zones.iter().map(in_zone).sum()
    }
}

impl ZoneCatalog {
    /// An unused zone.
    pub fn new(number: ZoneNumber, kind: ZoneKind) -> Self {
        let (runs, covered) = (BTreeMap::new(), Extents::default());
        Self { number, kind, frames: 0, allocated: Vec::new(), crcs: Vec::new(), runs, covered }
    }

    /// The allocation bitmap of `frame`: empty beyond the high-water mark and in zones of runs.
    pub fn mask(&self, frame: FrameIndex) -> SlotMask {
        let words = self.mask_words();
        match self.allocated.get(frame.index() * words..(frame.index() + 1) * words) {
            Some(mask) => SlotMask::from_words(mask),
            None => SlotMask::EMPTY,
        }
    }

    /// The checksum of `frame` in the image.
    pub fn crc(&self, frame: FrameIndex) -> u32 {
        self.crcs.get(frame.index()).copied().unwrap_or(ZERO_PAGE_CRC)
    }

    /// Notes the checksum of `frame` in the image.
    pub fn set_crc(&mut self, frame: FrameIndex, crc: u32) {
        if frame.index() >= self.crcs.len() {
            if crc == ZERO_PAGE_CRC {
                return;
            }
            self.crcs.resize(frame.index() + 1, ZERO_PAGE_CRC);
        }
        self.crcs[frame.index()] = crc;
    }

    /// Words in the bitmap of one frame; 0 in a zone of runs.
    pub fn mask_words(&self) -> usize {
        match self.kind {
            ZoneKind::Slots(layout) => layout.mask_words(),
            ZoneKind::Runs => 0,
        }
    }

    fn grow(&mut self, frames: u32) {
        if frames > self.frames {
            self.frames = frames;
            self.allocated.resize(frames as usize * self.mask_words(), 0);
        }
    }

    fn set_mask(&mut self, frame: FrameIndex, mask: &SlotMask) {
        let words = self.mask_words();
        self.allocated[frame.index() * words..][..words].copy_from_slice(&mask.words()[..words]);
    }

    fn add_run(&mut self, first: u32, pages: u32) -> Result<(), String> {
        self.insert_run(first, pages)?;
        self.grow(first + pages);
        Ok(())
    }

    /// Notes a run, unless it overlaps one or ends beyond the zone. The high-water mark stays.
    pub fn insert_run(&mut self, first: u32, pages: u32) -> Result<(), String> {
        let end = u64::from(first) + u64::from(pages);
        if pages == 0 || end > u64::from(self.kind.capacity()) {
            return Err(format!("run of {pages} pages at page {first} does not fit the zone"));
        }
        if let Some((other, len)) = self.runs.range(..end as u32).next_back()
            && other + len > first
        {
            return Err(format!("run of {pages} pages at page {first} overlaps the run at page {other}"));
        }
        self.runs.insert(first, pages);
        self.covered.insert(first..first + pages);
        Ok(())
    }

    fn remove_run(&mut self, first: u32, pages: u32) -> Result<(), String> {
        let Some((start, len)) = self.runs.range(..=first).next_back().map(|(s, l)| (*s, *l)) else {
            return Err(format!("no run at page {first} to free"));
        };
        let (end, freed_end) = (u64::from(start) + u64::from(len), u64::from(first) + u64::from(pages));
        if freed_end > end {
            return Err(format!("pages {first} to {freed_end} to free are not within the run at page {start}"));
        }
        self.runs.remove(&start);
        self.covered.remove(first..freed_end as u32);
        if start < first {
            self.runs.insert(start, first - start);
        }
        if freed_end < end {
            self.runs.insert(freed_end as u32, (end - freed_end) as u32);
        }
        Ok(())
    }

    fn check_pages(&self, first: u32, pages: u32) -> Result<(), String> {
        match self.covered.first_missing(first..first.saturating_add(pages)) {
            Some(page) => Err(format!("page {page} has contents but belongs to no run")),
            None => Ok(()),
        }
    }
}

impl Catalog {
    /// Takes over what `item` says about zones, bitmaps, runs and roots; contents are not its business.
    /// An item that contradicts the catalog is refused with the reason.
    pub fn apply(&mut self, item: &Item<'_>) -> Result<(), String> {
        match *item {
            Item::Zone { index, number, kind } => {
                if index.index() != self.zones.len() {
                    return Err(format!("zone {index} created, but {} zones exist", self.zones.len()));
                }
                self.add_zone(ZoneCatalog::new(number, kind))
            }
            Item::Roots(ref roots) => {
                self.roots.clone_from(roots);
                Ok(())
            }
            Item::Frame { zone, layout, frame, ref allocated, .. } => {
                let zone = self.zone_mut(zone, ZoneKind::Slots(layout))?;
                zone.grow(frame.0 + 1);
                if let Some(mask) = allocated {
                    zone.set_mask(frame, mask);
                }
                Ok(())
            }
            Item::RunAllocated { zone, first, pages } => self.zone_mut(zone, ZoneKind::Runs)?.add_run(first.0, pages),
            Item::RunFreed { zone, first, pages } => self.zone_mut(zone, ZoneKind::Runs)?.remove_run(first.0, pages),
            Item::Pages { zone, first, bytes } => {
                let pages = (bytes.len() / crate::base::PAGE) as u32;
                self.zone_mut(zone, ZoneKind::Runs)?.check_pages(first.0, pages)
            }
            Item::ZeroPages { zone, first, pages } => self.zone_mut(zone, ZoneKind::Runs)?.check_pages(first.0, pages),
        }
    }

    /// Appends a zone, unless its number is taken or there are too many.
    pub fn add_zone(&mut self, zone: ZoneCatalog) -> Result<(), String> {
        if self.zones.len() == ZONES_MAX {
            return Err(format!("more than {ZONES_MAX} zones: no process has room for them"));
        }
        if self.zones.iter().any(|other| other.number == zone.number) {
            return Err(format!("zone number {:#x} is used twice", zone.number.0));
        }
        self.zones.push(zone);
        Ok(())
    }

    fn zone_mut(&mut self, index: ZoneIndex, kind: ZoneKind) -> Result<&mut ZoneCatalog, String> {
        match self.zones.get_mut(index.index()) {
            None => Err(format!("zone {index} does not exist")),
            Some(zone) if zone.kind != kind => Err(format!("zone {index} is {:?}, not {kind:?}", zone.kind)),
            Some(zone) => Ok(zone),
        }
    }
}
