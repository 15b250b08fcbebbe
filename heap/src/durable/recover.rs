//! Opening: from files that may hold anything to a state that is known to be some checkpoint's.
//!
//! 1. Nothing on disk is changed here. `store.rs` starts to write once [`Recovery::load`] returned.
//! 2. The state is M(g) plus the records of segment G, plus, if its header is there, those of segment G + 1. G is then
//!    sealed, and its end must be the one that G + 1's header names.
//! 3. No acknowledged epoch is lost unnoticed: `acked` may not name a later epoch than the one found.
//! 4. Everything that is delivered was checked (`image.rs`); damage is an error that names file and offset.
//! 5. Recovery reads the same thing as often as it is tried, also where it or the fold that follows it crashed.
//!
//! Memory while recovering: both log files, their index, and two or three catalogs.

use super::catalog::Catalog;
use super::format::*;
use super::image::{Image, Sink};
use super::log::acked_epoch;
use super::meta;
use super::overlay::Overlay;
use super::segment::Segment;
use super::storage::{Storage, must_open, read_up_to};
use super::superblock::{Addressing, Superblock};
use crate::base::{Epoch, Error, Result};

/// What a heap was found to hold.
#[derive(Debug)]
pub struct Recovered {
    /// The heap's identity, drawn at creation.
    pub heap_id: [u8; 16],
    /// How its objects get their addresses.
    pub addressing: Addressing,
    /// Bytes of a log segment before it is folded.
    pub log_bytes: u64,
    /// The last durable epoch; 0 if there was no checkpoint yet.
    pub epoch: Epoch,
    /// The state at that epoch. The checksums are those of the image, which lags behind.
    pub catalog: Catalog,
    /// Records that were in the log.
    pub replayed_records: u64,
    /// Bytes of a record that a crash cut short; it was never acknowledged. 0 if its header did not survive either.
    pub dropped_tail_bytes: u64,
}

/// Everything that was read, until it is loaded.
pub struct Recovery {
    pub superblock: Superblock,
    /// Which copy of the superblock was picked.
    pub superblock_copy: usize,
    /// One or two; the last is the active one.
    pub segments: Vec<Segment>,
    base: Catalog,
    next: Option<Catalog>,
    last: Catalog,
}

impl Recovery {
    /// Reads and checks everything but the zone files' contents.
    pub fn read(storage: &dyn Storage) -> Result<Self> {
        let file = must_open(storage, names::SUPERBLOCK)?;
        let bytes = read_up_to(&*file, 2 * SUPERBLOCK_BYTES as u64)?;
        let (superblock, superblock_copy) = Superblock::pick(file.path(), &bytes)?;
        let base = meta::read(storage, &superblock)?.catalog;
        let other_meta = must_open(storage, names::METAS[1 - superblock.meta_slot()])?;
        let segments = read_segments(storage, &superblock)?;
        check_acked(storage, &superblock, &segments[segments.len() - 1])?;
        let next = match segments.len() {
            1 => None,
            // It may be damaged or older; then no frame may need it.
            _ => meta::read_any(&*other_meta, &superblock.heap_id)
                .ok()
                .filter(|meta| meta.generation == superblock.generation + 1)
                .map(|meta| meta.catalog),
        };
        let mut last = base.clone();
        for segment in &segments {
            segment.for_each_item(|_, item| last.apply(item))?;
        }
        (0..base.zones.len()).try_for_each(|zone| must_open(storage, &names::zone(zone)).map(|_| ()))?;
        Ok(Self { superblock, superblock_copy, segments, base, next, last })
    }

    /// The end of the log.
    pub fn active(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    /// What the engine is told.
    pub fn recovered(&self) -> Recovered {
        Recovered {
            heap_id: self.superblock.heap_id,
            addressing: self.superblock.addressing,
            log_bytes: self.superblock.log_bytes,
            epoch: self.active().chain.epoch,
            catalog: self.last.clone(),
            replayed_records: self.segments.iter().map(|segment| segment.records.len() as u64).sum(),
            dropped_tail_bytes: self.active().torn_bytes,
        }
    }

    /// Delivers the contents.
    pub fn load(&self, storage: &dyn Storage, sink: Sink<'_>) -> Result<()> {
        let overlay = Overlay::new(&self.segments, |_| Ok(()))?;
        Image::new(storage, &self.base, self.next.as_ref(), &overlay)?.load(&self.last, sink)
    }
}

/// Segment G, and G + 1 if it was started.
fn read_segments(storage: &dyn Storage, superblock: &Superblock) -> Result<Vec<Segment>> {
    let (heap_id, first) = (&superblock.heap_id, superblock.log_generation);
    let file = must_open(storage, names::LOGS[(first % 2) as usize])?;
    let other = must_open(storage, names::LOGS[(1 - first % 2) as usize])?;
    let segment = Segment::parse(file.path(), read_up_to(&*file, u64::MAX)?, heap_id, first)?;
    let Some(segment) = segment else {
        return Err(Error::corrupt(file.path(), 0, format!("no header of log segment {first}")));
    };
    if segment.header.prev_epoch != superblock.image_epoch.0 {
        let (epoch, image) = (segment.header.prev_epoch, superblock.image_epoch);
        return Err(Error::corrupt(
            file.path(),
            0,
            format!("the segment follows epoch {epoch}, the image holds {image}"),
        ));
    }
    let bytes = read_up_to(&*other, u64::MAX)?;
    if let Some(found) = Segment::generation_of(&bytes, heap_id)
        && found > first + 1
    {
        return Err(Error::corrupt(other.path(), 0, format!("log segment {found} cannot be next to segment {first}")));
    }
    let Some(active) = Segment::parse(other.path(), bytes, heap_id, first + 1)? else { return Ok(vec![segment]) };
    let sealed = segment.chain;
    if (active.header.prev_epoch, active.header.prev_crc) != (sealed.epoch.0, sealed.crc) {
        let why = format!(
            "the segment ends at epoch {}, but the next one follows epoch {}",
            sealed.epoch, active.header.prev_epoch
        );
        return Err(Error::corrupt(file.path(), sealed.end, why));
    }
    Ok(vec![segment, active])
}

/// Refuses a log that ends before the last acknowledged epoch.
fn check_acked(storage: &dyn Storage, superblock: &Superblock, active: &Segment) -> Result<()> {
    let Some(file) = storage.open_file(names::ACKED)? else { return Ok(()) };
    let bytes = read_up_to(&*file, Acked::BYTES as u64)?;
    match acked_epoch(&bytes, &superblock.heap_id) {
        Some(acked) if acked > active.chain.epoch => {
            let why = format!("the log ends at epoch {}, but epoch {acked} was acknowledged", active.chain.epoch);
            Err(Error::corrupt(&active.path, active.chain.end, why))
        }
        _ => Ok(()),
    }
}
