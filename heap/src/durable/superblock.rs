//! [`Superblock`]: which image and which log belong together, in two copies of which one always holds.
//!
//! 1. The copies are written one after the other with a sync between, so that at any time at least one is whole. The
//!    newest valid one counts.
//! 2. A superblock of generation g names the catalog M(g), whose checksums describe the image, and the first log
//!    segment that is not folded into it.
//! 3. What the older generation needs is given up only once *both* copies hold the newer one: until then the newer copy
//!    may be damaged, and the older one must still lead to a whole heap.
//!
//! Must not: be written before everything it refers to is durable.

use std::path::Path;

use super::failure::{Counters, Failure};
use super::format::*;
use super::storage::StorageFile;
use crate::base::{Epoch, Error, ErrorKind, Result};

/// How objects get their addresses; chosen at creation, because stored pointers are addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Each slot through a lane of its own.
    Lanes,
    /// Everything through the dense lane.
    Dense,
}

/// A valid superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub heap_id: [u8; 16],
    pub addressing: Addressing,
    pub log_bytes: u64,
    /// Counts folds.
    pub generation: u64,
    /// The last epoch in the image.
    pub image_epoch: Epoch,
    /// The first segment that is not in the image.
    pub log_generation: u64,
    pub meta_len: u64,
    pub meta_crc: u32,
}

/// What one copy turned out to be.
enum Found {
    Valid(Superblock),
    NoMagic,
    Damaged,
}

impl Superblock {
    /// Which of the two catalog files is meant.
    pub fn meta_slot(&self) -> usize {
        (self.generation % 2) as usize
    }

    /// The bytes of one copy.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut copy = [0; SUPERBLOCK_BYTES];
        let fields = SuperblockFields {
            magic: SUPERBLOCK_MAGIC,
            version: FORMAT_VERSION,
            features: KNOWN_FEATURES,
            heap_id: self.heap_id,
            generation: self.generation,
            log_bytes: self.log_bytes,
            image_epoch: self.image_epoch.0,
            log_generation: self.log_generation,
            meta_len: self.meta_len,
            meta_crc: self.meta_crc,
            meta_slot: self.meta_slot() as u32,
            addressing: (self.addressing == Addressing::Dense).into(),
            reserved: 0,
        };
        fields.encode(&mut copy);
        let crc = crc32c::crc32c(&copy[..SUPERBLOCK_CRC_AT]);
        copy[SUPERBLOCK_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        copy
    }

    /// The newest valid copy in the file's bytes, and which it is.
    ///
    /// # Errors
    /// `NotAHeap`, `UnsupportedVersion`, `Corrupt`.
    pub fn pick(path: &Path, bytes: &[u8]) -> Result<(Self, usize)> {
        let mut newest: Option<(Self, usize)> = None;
        let mut any_magic = false;
        for copy in [0, 1] {
            let at = copy * SUPERBLOCK_BYTES;
            let found = match bytes.get(at..at + SUPERBLOCK_BYTES) {
                Some(bytes) => decode(path, at as u64, bytes)?,
                None => Found::NoMagic,
            };
            any_magic |= !matches!(found, Found::NoMagic);
            let Found::Valid(superblock) = found else { continue };
            match newest {
                Some((other, _)) if !other.is_kin_of(&superblock) => {
                    return Err(Error::corrupt(path, at as u64, "the two superblock copies contradict each other"));
                }
                Some((other, _)) if other.generation >= superblock.generation => {}
                _ => newest = Some((superblock, copy)),
            }
        }
        newest.ok_or_else(|| match any_magic {
            true => Error::corrupt(path, 0, "neither copy of the superblock is whole"),
            false => Error::new(ErrorKind::NotAHeap, format!("{}: not the superblock of a heap", path.display())),
        })
    }

    /// Whether both can be copies of one heap's superblock.
    fn is_kin_of(&self, other: &Self) -> bool {
        let same_heap = self.heap_id == other.heap_id
            && self.addressing == other.addressing
            && self.log_bytes == other.log_bytes
            && self.generation.abs_diff(other.generation) <= 1;
        same_heap && (self.generation != other.generation || self == other)
    }

    /// Makes this the superblock: copy `first`, sync, the other copy, sync.
    ///
    /// A new generation goes to copy 0 first while both copies are durable (invariant 1). A repair at open names the
    /// copy that was picked: rewriting it with equal bytes cannot harm it if the disk has it, and makes it durable if only
    /// the page cache did, after a failed sync; only then may the other one be overwritten.
    pub fn write(&self, file: &dyn StorageFile, first: usize, counters: &Counters) -> Result<(), Failure> {
        for copy in [first, 1 - first] {
            counters.write(&counters.superblock_bytes, file, (copy * SUPERBLOCK_BYTES) as u64, &self.encode())?;
            counters.sync(file)?;
        }
        Ok(())
    }
}

fn decode(path: &Path, at: u64, copy: &[u8]) -> Result<Found> {
    let fields = SuperblockFields::decode(copy);
    if fields.magic != SUPERBLOCK_MAGIC {
        return Ok(Found::NoMagic);
    }
    let crc = crc32c::crc32c(&copy[..SUPERBLOCK_CRC_AT]);
    if copy[SUPERBLOCK_CRC_AT..] != crc.to_le_bytes() {
        return Ok(Found::Damaged);
    }
    let unsupported =
        |what: String| Err(Error::new(ErrorKind::UnsupportedVersion, format!("{}: {what}", path.display())));
    if fields.version > FORMAT_VERSION {
        let version = fields.version;
        return unsupported(format!("format version {version}, but this build knows version {FORMAT_VERSION} at most"));
    }
    let unknown = fields.features & !KNOWN_FEATURES;
    if unknown != 0 {
        return unsupported(format!(
            "feature flags {unknown:#x} are unknown to this build (it knows {KNOWN_FEATURES:#x})"
        ));
    }
    let addressing = match fields.addressing {
        0 => Addressing::Lanes,
        1 => Addressing::Dense,
        other => return Err(Error::corrupt(path, at, format!("unknown addressing {other}"))),
    };
    let sound = fields.version == FORMAT_VERSION
        && (1..COUNT_END).contains(&fields.generation)
        && (1..COUNT_END).contains(&fields.log_generation)
        && fields.image_epoch < COUNT_END
        && (LOG_BYTES_MIN..=LOG_BYTES_MAX).contains(&fields.log_bytes)
        && u64::from(fields.meta_slot) == fields.generation % 2;
    if !sound {
        return Err(Error::corrupt(path, at, "a superblock field is out of range"));
    }
    Ok(Found::Valid(Superblock {
        heap_id: fields.heap_id,
        addressing,
        log_bytes: fields.log_bytes,
        generation: fields.generation,
        image_epoch: Epoch(fields.image_epoch),
        log_generation: fields.log_generation,
        meta_len: fields.meta_len,
        meta_crc: fields.meta_crc,
    }))
}
