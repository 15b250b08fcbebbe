//! Folding a sealed log segment into the image: from superblock generation g to g + 1.
//!
//! 1. Pass one reads what the segment touches and computes M(g+1), which is written whole and synced.
//! 2. Pass two writes the touched frames, and nothing else, and syncs the zone files. A crash in it leaves a mixture
//!    that M(g), M(g+1) and the segment together can still read (`image.rs`).
//! 3. The superblock g + 1 is written and synced, in both copies. Only then is the segment free.
//! 4. A fold is a function of the disk: it keeps no state between attempts, and an attempt after a crash or a full disk
//!    writes the same bytes again.
//! 5. Memory: the sealed segment whole, its index (`overlay.rs`), and the catalog before and after (and as an earlier
//!    attempt left it, if there was one). It is read from its file, so that nothing of it stays in memory between folds.

use std::sync::Arc;

use super::catalog::{Catalog, ZoneCatalog};
use super::failure::{Counters, Failure};
use super::format::*;
use super::image::Image;
use super::meta;
use super::overlay::{FramePatch, Overlay, Pages};
use super::segment::{ChainEnd, Segment};
use super::storage::{Storage, StorageFile, must_open, read_up_to};
use super::superblock::Superblock;
use crate::base::sync::Ordering;
use crate::base::{Canary, Error, FrameIndex, PAGE, Result, SlotLayout, ZoneIndex, ZoneKind, canary};

/// Most bytes of page contents in one write.
const WRITE_BYTES: usize = 1 << 20;
/// A recycled segment may be this much longer than the limit before it is cut back.
const SLACK_BYTES: u64 = 8 << 20;

/// Folds the segment that ends at `sealed` and returns the new superblock, durable.
pub fn fold(
    storage: &dyn Storage,
    counters: &Counters,
    superblock: &Superblock,
    sealed: ChainEnd,
) -> Result<Superblock, Failure> {
    let segment = read_sealed(storage, superblock, sealed)?;
    let base = meta::read(storage, superblock)?.catalog;
    let generation = superblock.generation + 1;
    if generation >= COUNT_END {
        let why = format!("the heap was folded {} times, and cannot be folded again", superblock.generation);
        return Err(Error::corrupt(storage.path(), 0, why).into());
    }
    let next_file = must_open(storage, names::METAS[(generation % 2) as usize])?;
    // There is one if an earlier attempt got as far as pass two; the frames that it wrote are checked against it.
    let earlier = meta::read_any(&*next_file, &superblock.heap_id).ok().filter(|meta| meta.generation == generation);
    let mut next = base.clone();
    let segments = [segment];
    let overlay = Overlay::new(&segments, |item| next.apply(item))?;
    let image = Image::new(storage, &base, earlier.as_ref().map(|meta| &meta.catalog), &overlay)?;

    let mut fold = Fold { storage, counters, image: &image, overlay: &overlay };
    fold.checksum(&mut next)?;
    let files = fold.zone_files(base.zones.len(), &next)?;
    let (meta_len, meta_crc) = meta::write(storage, counters, &superblock.heap_id, generation, sealed.epoch, &next)?;
    let (image_epoch, log_generation) = (sealed.epoch, sealed.generation + 1);
    let flipped = Superblock { generation, image_epoch, log_generation, meta_len, meta_crc, ..*superblock };
    let flip = || -> Result<(), Failure> { flipped.write(&*must_open(storage, names::SUPERBLOCK)?, 0, counters) };
    if canary(Canary::FlipBeforeData) {
        flip()?;
    }
    fold.write(&next, &files)?;
    flip()?;
    counters.folds.fetch_add(1, Ordering::Relaxed);
    recycle(storage, superblock.log_bytes, sealed);
    Ok(flipped)
}

/// Reads the sealed segment back, and makes sure that it is the one that was written.
fn read_sealed(storage: &dyn Storage, superblock: &Superblock, sealed: ChainEnd) -> Result<Segment> {
    let file = must_open(storage, names::LOGS[(sealed.generation % 2) as usize])?;
    let bytes = read_up_to(&*file, sealed.end)?;
    match Segment::parse(file.path(), bytes, &superblock.heap_id, sealed.generation)? {
        Some(segment) if segment.chain == sealed => Ok(segment),
        _ => Err(Error::corrupt(file.path(), 0, format!("segment {} is not as it was written", sealed.generation))),
    }
}

/// Cuts a segment that one large record made long back to its usual length. It is free now, and nothing depends on its
/// length, so that a failure is of no consequence.
fn recycle(storage: &dyn Storage, log_bytes: u64, sealed: ChainEnd) {
    if let Ok(Some(file)) = storage.open_file(names::LOGS[(sealed.generation % 2) as usize])
        && file.len().is_ok_and(|len| len > log_bytes + SLACK_BYTES)
    {
        let _ = file.set_len(log_bytes);
    }
}

struct Fold<'a> {
    storage: &'a dyn Storage,
    counters: &'a Counters,
    image: &'a Image<'a>,
    overlay: &'a Overlay<'a>,
}

impl Fold<'_> {
    /// Pass one: the checksums of everything that is touched.
    fn checksum(&self, next: &mut Catalog) -> Result<(), Failure> {
        for index in 0..next.zones.len() {
            let zone = &mut next.zones[index];
            let index = ZoneIndex(index as u16);
            match zone.kind {
                ZoneKind::Slots(layout) => self.each_group(index, layout, zone.frames, |group| {
                    for (frame, bytes) in group.touched() {
                        let empty = zone.mask(FrameIndex(frame)).is_empty();
                        zone.set_crc(FrameIndex(frame), if empty { ZERO_PAGE_CRC } else { crc32c::crc32c(bytes) });
                    }
                    Ok(())
                })?,
                ZoneKind::Runs => self.overlay.for_each_change(index, |first, pages, contents| {
                    for page in 0..pages {
                        let crc = match contents {
                            Pages::Bytes(bytes) => crc32c::crc32c(&bytes[page as usize * PAGE..][..PAGE]),
                            _ => ZERO_PAGE_CRC,
                        };
                        zone.set_crc(FrameIndex(first + page), crc);
                    }
                    Ok::<_, Failure>(())
                })?,
            }
        }
        Ok(())
    }

    /// The image files of all zones; those that the image does not know yet are created, durably.
    fn zone_files(&self, known: usize, next: &Catalog) -> Result<Vec<Arc<dyn StorageFile>>, Failure> {
        let mut files = Vec::new();
        for index in 0..next.zones.len() {
            let name = names::zone(index);
            files.push(if index < known {
                must_open(self.storage, &name)?
            } else {
                self.storage.create_file(&name)?
            });
        }
        if next.zones.len() > known && !canary(Canary::FileNotSynced) {
            self.counters.syncs.fetch_add(1, Ordering::Relaxed);
            self.storage.sync_dir().map_err(Failure::Poison)?;
        }
        Ok(files)
    }

    /// Pass two: the contents.
    fn write(&mut self, next: &Catalog, files: &[Arc<dyn StorageFile>]) -> Result<(), Failure> {
        for (index, (zone, file)) in next.zones.iter().zip(files).enumerate() {
            let index = ZoneIndex(index as u16);
            let mut touched = false;
            match zone.kind {
                ZoneKind::Slots(layout) => self.each_group(index, layout, zone.frames, |group| {
                    touched = true;
                    self.write_group(zone, &**file, &group)
                })?,
                ZoneKind::Runs => self.overlay.for_each_change(index, |first, pages, contents| {
                    touched = true;
                    self.write_pages(&**file, first, pages, contents)
                })?,
            }
            if touched && !canary(Canary::FlipWithoutSync) {
                self.counters.sync(&**file)?;
            }
        }
        Ok(())
    }

    fn write_group(&self, zone: &ZoneCatalog, file: &dyn StorageFile, group: &Group<'_>) -> Result<(), Failure> {
        // The current run of neighbours: first, end, and whether they are to be punched.
        let mut run = (0, 0, false);
        for (frame, bytes) in group.touched() {
            let empty = zone.mask(FrameIndex(frame)).is_empty();
            if !empty && crc32c::crc32c(bytes) != zone.crc(FrameIndex(frame)) {
                let offset = u64::from(frame) * PAGE as u64;
                return Err(Error::corrupt(file.path(), offset, "the frame changed between two reads").into());
            }
            if run.1 != frame || run.2 != empty {
                self.write_frames(file, group, run)?;
                run = (frame, frame, empty);
            }
            run.1 = frame + 1;
        }
        self.write_frames(file, group, run)
    }

    fn write_frames(
        &self,
        file: &dyn StorageFile,
        group: &Group<'_>,
        (first, end, empty): (u32, u32, bool),
    ) -> Result<(), Failure> {
        if first == end {
            return Ok(());
        }
        let (offset, len) = (u64::from(first) * PAGE as u64, (end - first) as usize * PAGE);
        if empty {
            return Ok(file.punch(offset, len as u64)?);
        }
        let bytes = &group.bytes[(first - group.first) as usize * PAGE..][..len];
        Ok(self.counters.write(&self.counters.image_bytes, file, offset, bytes)?)
    }

    fn write_pages(&self, file: &dyn StorageFile, first: u32, pages: u32, contents: Pages<'_>) -> Result<(), Failure> {
        let mut offset = u64::from(first) * PAGE as u64;
        let Pages::Bytes(bytes) = contents else {
            return Ok(file.punch(offset, u64::from(pages) * PAGE as u64)?);
        };
        for part in bytes.chunks(WRITE_BYTES) {
            self.counters.write(&self.counters.image_bytes, file, offset, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Calls `f` with each chunk of frames that has a touched one, ascending.
    fn each_group(
        &self,
        zone: ZoneIndex,
        layout: SlotLayout,
        frames: u32,
        mut f: impl FnMut(Group<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = self.overlay.patches(zone, 0, frames);
        let mut buf = vec![0; CHUNK_FRAMES as usize * PAGE];
        while let Some(patch) = rest.first() {
            let chunk = patch.frame.0 / CHUNK_FRAMES;
            let (patches, later) = rest.split_at(rest.partition_point(|p| p.frame.0 / CHUNK_FRAMES == chunk));
            let (first, last) = (patch.frame.0, patches[patches.len() - 1].frame.0);
            let bytes = &mut buf[..(last - first + 1) as usize * PAGE];
            self.image.frames(zone, layout, first, true, bytes)?;
            f(Group { first, patches, bytes })?;
            rest = later;
        }
        Ok(())
    }
}

/// Neighbouring frames, new contents, from the first touched one to the last.
struct Group<'a> {
    first: u32,
    patches: &'a [FramePatch],
    bytes: &'a [u8],
}

impl Group<'_> {
    /// The touched frames, ascending, each once.
    fn touched(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let frames = self.patches.chunk_by(|a, b| a.frame == b.frame).map(|patches| patches[0].frame.0);
        frames.map(|frame| (frame, &self.bytes[(frame - self.first) as usize * PAGE..][..PAGE]))
    }
}
