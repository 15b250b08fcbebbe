//! The catalog files: M(g), whole, in `meta-(g % 2)`.
//!
//! ```text
//! header    MetaHeader
//! body      per zone: number u16, slot_bytes u16 (0: runs), frames u32,
//!             then bitmaps (u64 words) and crcs (u32 each) of slots, or run count u32, runs (first u32, pages u32) and crcs
//!           roots, as in a record
//! ```
//! 1. The file is written while nothing refers to it, and synced before a superblock does. The superblock repeats the
//!    header's checksum, which covers the body's.
//! 2. M(g+1) depends on M(g) and the sealed segment alone: writing it again after a crash writes equal bytes.
//! 3. Reading checks every field; what is allocated is bounded by the file's length.
//! 4. Memory: reading takes the file's length once more; writing one block of [`BLOCK`] bytes.

use std::path::Path;

use super::bytes::{Malformed, Reader};
use super::catalog::{Catalog, ZoneCatalog};
use super::failure::{Counters, Failure};
use super::format::*;
use super::items::{roots, zone_kind};
use super::record::put_roots;
use super::storage::{Storage, StorageFile, must_open, read_up_to};
use super::superblock::Superblock;
use crate::base::{Epoch, Error, FrameIndex, Result, ZoneKind, ZoneNumber};

const BLOCK: usize = 1 << 20;

/// A catalog, its place in time, and its header's checksum.
#[derive(Debug)]
pub struct Meta {
    pub catalog: Catalog,
    pub generation: u64,
    pub epoch: Epoch,
    pub len: u64,
    pub crc: u32,
}

/// Writes `catalog` as M(`generation`) and syncs it. Returns length and checksum, for the superblock.
pub fn write(
    storage: &dyn Storage,
    counters: &Counters,
    heap_id: &[u8; 16],
    generation: u64,
    epoch: Epoch,
    catalog: &Catalog,
) -> Result<(u64, u32), Failure> {
    let file = storage.create_file(names::METAS[(generation % 2) as usize])?;
    let mut body = Body { file: &*file, counters, at: MetaHeader::BYTES as u64, crc: 0, block: Vec::new() };
    encode(catalog, &mut body)?;
    body.flush()?;
    let (len, body_crc) = (body.at, body.crc);
    let mut header = MetaHeader {
        magic: META_MAGIC,
        version: FORMAT_VERSION,
        heap_id: *heap_id,
        generation,
        epoch: epoch.0,
        body_len: len - MetaHeader::BYTES as u64,
        body_crc,
        ..MetaHeader::default()
    };
    let mut bytes = [0; MetaHeader::BYTES];
    header.encode(&mut bytes);
    header.crc = header_crc(heap_id, &bytes);
    header.encode(&mut bytes);
    counters.write(&counters.meta_bytes, &*file, 0, &bytes)?;
    file.set_len(len)?;
    counters.sync(&*file)?;
    Ok((len, header.crc))
}

/// The catalog that `superblock` names.
pub fn read(storage: &dyn Storage, superblock: &Superblock) -> Result<Meta> {
    let file = must_open(storage, names::METAS[superblock.meta_slot()])?;
    let meta = read_any(&*file, &superblock.heap_id)?;
    let named = (superblock.generation, superblock.image_epoch, superblock.meta_len, superblock.meta_crc);
    if named != (meta.generation, meta.epoch, meta.len, meta.crc) {
        return Err(Error::corrupt(file.path(), 0, "not the catalog that the superblock names"));
    }
    Ok(meta)
}

/// The catalog in `file`, whichever it is.
pub fn read_any(file: &dyn StorageFile, heap_id: &[u8; 16]) -> Result<Meta> {
    let bytes = read_up_to(file, u64::MAX)?;
    decode(file.path(), &bytes, heap_id)
}

struct Body<'a> {
    file: &'a dyn StorageFile,
    counters: &'a Counters,
    at: u64,
    crc: u32,
    block: Vec<u8>,
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.counters.write(&self.counters.meta_bytes, self.file, self.at, &self.block)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.block);
        self.at += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }
}

fn encode(catalog: &Catalog, body: &mut Body<'_>) -> Result<()> {
    body.put(&(catalog.zones.len() as u32).to_le_bytes())?;
    for zone in &catalog.zones {
        let slot_bytes = match zone.kind {
            ZoneKind::Slots(layout) => layout.slot_bytes() as u16,
            ZoneKind::Runs => 0,
        };
        body.put(&zone.number.0.to_le_bytes())?;
        body.put(&slot_bytes.to_le_bytes())?;
        body.put(&zone.frames.to_le_bytes())?;
        zone.allocated.iter().try_for_each(|word| body.put(&word.to_le_bytes()))?;
        if zone.kind == ZoneKind::Runs {
            body.put(&(zone.runs.len() as u32).to_le_bytes())?;
        }
        for (first, pages) in &zone.runs {
            body.put(&first.to_le_bytes())?;
            body.put(&pages.to_le_bytes())?;
        }
        (0..zone.frames).try_for_each(|frame| body.put(&zone.crc(FrameIndex(frame)).to_le_bytes()))?;
    }
    let mut roots = Vec::new();
    put_roots(&mut roots, &catalog.roots);
    body.put(&roots)
}

fn decode(path: &Path, bytes: &[u8], heap_id: &[u8; 16]) -> Result<Meta> {
    let corrupt = |at: usize, why: &dyn std::fmt::Display| Error::corrupt(path, at as u64, why);
    let Some((head, body)) = bytes.split_at_checked(MetaHeader::BYTES) else {
        return Err(corrupt(0, &"the catalog ends in its header"));
    };
    let header = MetaHeader::decode(head);
    let sound = header.magic == META_MAGIC
        && header.version == FORMAT_VERSION
        && header.heap_id == *heap_id
        && header.crc == header_crc(heap_id, head);
    if !sound {
        return Err(corrupt(0, &"the catalog's header is damaged"));
    }
    if header.body_len != body.len() as u64 || header.body_crc != crc32c::crc32c(body) {
        return Err(corrupt(MetaHeader::BYTES, &"the catalog does not match its checksum"));
    }
    let mut reader = Reader::at(body, 0);
    let catalog = decode_catalog(&mut reader);
    let catalog = catalog.map_err(|why| corrupt(MetaHeader::BYTES + reader.position(), &why))?;
    let (generation, epoch) = (header.generation, Epoch(header.epoch));
    Ok(Meta { catalog, generation, epoch, len: bytes.len() as u64, crc: header.crc })
}

fn decode_catalog(reader: &mut Reader<'_>) -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    for _ in 0..reader.fixed::<u32>().map_err(text)? {
        let zone = decode_zone(reader)?;
        catalog.add_zone(zone)?;
    }
    catalog.roots = roots(reader).map_err(text)?;
    if reader.remaining() > 0 {
        return Err("bytes follow the catalog".to_owned());
    }
    Ok(catalog)
}

fn decode_zone(reader: &mut Reader<'_>) -> Result<ZoneCatalog, String> {
    let number = ZoneNumber(reader.fixed().map_err(text)?);
    let kind = zone_kind(reader.fixed().map_err(text)?).map_err(text)?;
    let frames: u32 = reader.fixed().map_err(text)?;
    if frames > kind.capacity() {
        return Err(format!("a zone has {frames} frames, more than fit"));
    }
    let mut zone = ZoneCatalog::new(number, kind);
    let words = frames as usize * zone.mask_words();
    // Taken before they are decoded, so that no more is allocated than the file has.
    let allocated = reader.take(words * 8).map_err(text)?;
    zone.allocated = allocated.chunks_exact(8).map(super::bytes::Field::get).collect();
    if kind == ZoneKind::Runs {
        decode_runs(reader, &mut zone, frames)?;
    }
    let crcs = reader.take(frames as usize * 4).map_err(text)?;
    zone.crcs = crcs.chunks_exact(4).map(super::bytes::Field::get).collect();
    zone.frames = frames;
    if let ZoneKind::Slots(layout) = kind {
        let all = crate::base::SlotMask::first(layout.slots());
        let stray = |frame| !zone.mask(FrameIndex(frame)).minus(&all).is_empty();
        if let Some(frame) = (0..frames).find(|frame| stray(*frame)) {
            return Err(format!("frame {frame} has slots beyond its layout"));
        }
    }
    Ok(zone)
}

fn decode_runs(reader: &mut Reader<'_>, zone: &mut ZoneCatalog, frames: u32) -> Result<(), String> {
    for _ in 0..reader.fixed::<u32>().map_err(text)? {
        let (first, pages): (u32, u32) = (reader.fixed().map_err(text)?, reader.fixed().map_err(text)?);
        if u64::from(first) + u64::from(pages) > u64::from(frames) {
            return Err(format!("the run at page {first} ends beyond the zone's last page"));
        }
        zone.insert_run(first, pages)?;
    }
    Ok(())
}

fn text(why: Malformed) -> String {
    why.to_string()
}
