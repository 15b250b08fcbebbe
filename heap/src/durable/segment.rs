//! [`Segment`]: reading a log segment back, up to where the log ends, and telling a torn tail from damage.
//!
//! 1. Records are accepted from the start on, as long as each is whole (header and payload checksums) and continues
//!    the chain: generation, previous epoch and previous header's checksum must be those of what precedes it.
//! 2. At most one record is unsynced at any time, and its header lies right where the valid prefix ends. So a crash leaves
//!    no valid header of the same generation further on: one that is there proves that something before it was damaged.
//!    (Headers from before the segment was recycled have an older generation.)
//! 3. What follows the prefix is otherwise a torn tail that was never acknowledged, and is dropped; `recover.rs` checks
//!    that against the `acked` file.
//!
//! Must not: write.

use std::path::{Path, PathBuf};

use super::format::*;
use super::items::{Item, Items};
use crate::base::{Epoch, Error, Result};

/// The end of a chain of records: what the next one must refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// Generation of the segment.
    pub generation: u64,
    /// Byte of the segment where the next record goes.
    pub end: u64,
    /// The last epoch in it, or before it.
    pub epoch: Epoch,
    /// `crc` of the last record's header, or of the segment's.
    pub crc: u32,
}

/// The valid prefix of a log segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub path: PathBuf,
    /// The segment's bytes, up to the end of the prefix.
    pub bytes: Vec<u8>,
    pub header: SegmentHeader,
    /// Where each record starts.
    pub records: Vec<usize>,
    pub chain: ChainEnd,
    /// Bytes of a torn record whose header survived.
    pub torn_bytes: u64,
}

impl Segment {
    /// The segment of `generation` in a file's bytes; `None` if they do not start with a whole header of this heap.
    ///
    /// # Errors
    /// `Corrupt`, if a record before the end of the log is damaged.
    pub fn parse(path: &Path, mut bytes: Vec<u8>, heap_id: &[u8; 16], generation: u64) -> Result<Option<Self>> {
        let Some(header) = segment_header(&bytes, heap_id).filter(|header| header.generation == generation) else {
            return match later_header(&bytes, 0, heap_id, generation, Epoch(0)) {
                Some(at) => Err(Error::corrupt(path, 0, format!("no segment header, but a record at {at:#x}"))),
                None => Ok(None),
            };
        };
        let end = SegmentHeader::BYTES as u64;
        let mut chain = ChainEnd { generation, end, epoch: Epoch(header.prev_epoch), crc: header.crc };
        let mut records = Vec::new();
        let mut torn_bytes = 0;
        while let Some(record) = record_header(&bytes, chain.end as usize, heap_id, generation) {
            let at = chain.end;
            let continues = record.prev_epoch == chain.epoch.0 && record.prev_crc == chain.crc;
            if !continues || record.epoch <= chain.epoch.0 || record.epoch >= COUNT_END {
                return Err(Error::corrupt(
                    path,
                    at,
                    format!("epoch {} does not follow epoch {}", record.epoch, chain.epoch),
                ));
            }
            let start = at as usize + RecordHeader::BYTES;
            let payload =
                usize::try_from(record.payload_len).ok().and_then(|len| bytes.get(start..start.checked_add(len)?));
            if payload.is_none_or(|payload| payload_crc(payload) != record.payload_crc) {
                torn_bytes = bytes.len() as u64 - at;
                torn_bytes = torn_bytes.min(record.payload_len.saturating_add(RecordHeader::BYTES as u64));
                break;
            }
            records.push(at as usize);
            let end = at + record_bytes(record.payload_len as usize) as u64;
            chain = ChainEnd { generation, end, epoch: Epoch(record.epoch), crc: record.crc };
        }
        let next = chain.end as usize + RECORD_ALIGN;
        if let Some(at) = later_header(&bytes, next, heap_id, generation, chain.epoch) {
            let why = format!("the record after epoch {} is damaged: a later one follows at {at:#x}", chain.epoch);
            return Err(Error::corrupt(path, chain.end, why));
        }
        bytes.truncate(chain.end as usize);
        Ok(Some(Self { path: path.to_owned(), bytes, header, records, chain, torn_bytes }))
    }

    /// The generation that the bytes of a log file claim, if they start with a whole header of this heap.
    pub fn generation_of(bytes: &[u8], heap_id: &[u8; 16]) -> Option<u64> {
        segment_header(bytes, heap_id).map(|header| header.generation)
    }

    /// Calls `f` with each item of each record in order, and its byte in the segment. An item that is malformed, or that
    /// `f` refuses, is reported as corruption at its place.
    pub fn for_each_item<'a>(&'a self, mut f: impl FnMut(usize, &Item<'a>) -> Result<(), String>) -> Result<()> {
        for &at in &self.records {
            let len = RecordHeader::decode(&self.bytes[at..]).payload_len as usize;
            let payload = at + RecordHeader::BYTES;
            for item in Items::new(&self.bytes[payload..payload + len]) {
                let result = match item {
                    Ok((offset, item)) => f(payload + offset, &item).map_err(|why| (offset, why)),
                    Err((offset, why)) => Err((offset, why.to_string())),
                };
                result.map_err(|(offset, why)| Error::corrupt(&self.path, (payload + offset) as u64, why))?;
            }
        }
        Ok(())
    }
}

fn segment_header(bytes: &[u8], heap_id: &[u8; 16]) -> Option<SegmentHeader> {
    let bytes = bytes.get(..SegmentHeader::BYTES)?;
    let header = SegmentHeader::decode(bytes);
    let sound = header.magic == SEGMENT_MAGIC
        && header.version == FORMAT_VERSION
        && header.heap_id == *heap_id
        && header.crc == header_crc(heap_id, bytes);
    sound.then_some(header)
}

/// The whole record header at `at`, if there is one of this heap and generation.
fn record_header(bytes: &[u8], at: usize, heap_id: &[u8; 16], generation: u64) -> Option<RecordHeader> {
    let bytes = bytes.get(at..at.checked_add(RecordHeader::BYTES)?)?;
    if bytes[..8] != RECORD_MAGIC.to_le_bytes() {
        return None;
    }
    let header = RecordHeader::decode(bytes);
    (header.generation == generation && header.crc == header_crc(heap_id, bytes)).then_some(header)
}

/// Where the first record header of this generation and a later epoch lies, at `from` or beyond.
fn later_header(bytes: &[u8], from: usize, heap_id: &[u8; 16], generation: u64, epoch: Epoch) -> Option<usize> {
    (from..bytes.len()).step_by(RECORD_ALIGN).find(|&at| {
        bytes[at..].starts_with(&RECORD_MAGIC.to_le_bytes())
            && record_header(bytes, at, heap_id, generation).is_some_and(|header| header.epoch > epoch.0)
    })
}
