//! [`Log`]: appending records to the active one of two segment files.
//!
//! 1. A record is one `pwrite` and one `fdatasync`; it is acknowledged after both, never before.
//! 2. After a failed write the next record goes to the same place: what is there was not acknowledged, and its header, if
//!    it is there, is overwritten. After a failed sync nothing is written any more (`failure.rs`).
//! 3. Space ahead of the end is reserved in growing steps, so that an append rarely changes the file's length, which
//!    would make its sync dearer. A recycled segment is overwritten in place for the same reason.
//! 4. The epoch is written to `acked` after the sync, itself unsynced and best effort. So what `acked` says was durable,
//!    whether or not it reaches the disk: after a kill it does, and lets open tell a damaged last record from one that was
//!    never acknowledged.
//! 5. A new segment's header names the end of the one before it, and is synced before the first record follows and
//!    before the sealed one is folded.
//!
//! Must not: decide when to change segments (`store.rs`).

use std::sync::Arc;

use super::failure::{Counters, Failure};
use super::format::*;
use super::record::Record;
use super::segment::{ChainEnd, Segment};
use super::storage::{Storage, StorageFile, must_open};
use crate::base::{Canary, Epoch, Result, canary};

/// First and last size of the steps in which space is reserved. Small in tests, so that growing is common there.
const STEP_BYTES_MIN: u64 = if cfg!(any(test, feature = "testing", miri, strewn_twin)) { 4 << 10 } else { 256 << 10 };
const STEP_BYTES_MAX: u64 = 8 << 20;

/// The log, open for appending.
pub struct Log {
    heap_id: [u8; 16],
    files: [Arc<dyn StorageFile>; 2],
    /// `None` until [`prepare`](Self::prepare), if the file is missing.
    acked: Option<Arc<dyn StorageFile>>,
    chain: ChainEnd,
    /// Length of the active file.
    reserved: u64,
    step: u64,
}

impl Log {
    /// The log that ends at `chain`.
    pub fn open(storage: &dyn Storage, heap_id: [u8; 16], chain: ChainEnd) -> Result<Self> {
        let files = [must_open(storage, names::LOGS[0])?, must_open(storage, names::LOGS[1])?];
        let acked = storage.open_file(names::ACKED)?;
        let reserved = files[slot(chain.generation)].len()?;
        Ok(Self { heap_id, files, acked, chain, reserved, step: STEP_BYTES_MIN })
    }

    /// Readies the log for appending, once files may be changed.
    pub fn prepare(&mut self, storage: &dyn Storage) -> Result<()> {
        self.acked = Some(storage.create_file(names::ACKED)?);
        Ok(())
    }

    /// Where the log ends.
    pub fn chain(&self) -> ChainEnd {
        self.chain
    }

    /// Whether the active segment holds a record.
    pub fn has_records(&self) -> bool {
        self.chain.end > SegmentHeader::BYTES as u64
    }

    /// Makes `record` durable as `epoch`.
    pub fn append(&mut self, epoch: Epoch, record: &mut Record, counters: &Counters) -> Result<u64, Failure> {
        debug_assert!(epoch > self.chain.epoch);
        let payload_len = record.payload_len() as u64;
        let mut header = RecordHeader {
            magic: RECORD_MAGIC,
            generation: self.chain.generation,
            epoch: epoch.0,
            prev_epoch: self.chain.epoch.0,
            payload_len,
            prev_crc: self.chain.crc,
            payload_crc: payload_crc(record.payload()),
            ..RecordHeader::default()
        };
        let bytes = record.framed();
        header.encode(bytes);
        header.crc = header_crc(&self.heap_id, &bytes[..RecordHeader::BYTES]);
        header.encode(bytes);
        let end = self.chain.end + bytes.len() as u64;
        self.reserve(end)?;
        let file = self.active();
        counters.write(&counters.log_bytes, file, self.chain.end, bytes)?;
        if !canary(Canary::AcknowledgedBeforeSync) {
            counters.sync(file)?;
        }
        self.chain = ChainEnd { end, epoch, crc: header.crc, ..self.chain };
        self.note_acked();
        Ok(bytes.len() as u64)
    }

    /// Starts the next segment in the other file, which must be free. Returns the end of the one that this seals.
    pub fn start_segment(&mut self, counters: &Counters) -> Result<ChainEnd, Failure> {
        let sealed = self.chain;
        let generation = sealed.generation + 1;
        let header = encode_segment_header(&self.heap_id, generation, sealed.epoch, sealed.crc);
        let file = &*self.files[slot(generation)];
        counters.write(&counters.log_bytes, file, 0, &header)?;
        if !canary(Canary::FoldBeforeCommit) {
            counters.sync(file)?;
        }
        self.reserved = file.len()?;
        self.step = STEP_BYTES_MIN;
        self.chain = ChainEnd {
            generation,
            end: SegmentHeader::BYTES as u64,
            epoch: sealed.epoch,
            crc: SegmentHeader::decode(&header).crc,
        };
        Ok(sealed)
    }

    /// Writes what open relies on again, with equal bytes: the active segment's header, and its last record.
    ///
    /// A process before this one may have failed to sync them and died; reads are then served from the page cache and
    /// prove nothing about the disk. Everything before them was synced, or they would not have been written.
    pub fn rewrite_end(&self, active: &Segment, counters: &Counters) -> Result<(), Failure> {
        let file = self.active();
        counters.write(&counters.log_bytes, file, 0, &active.bytes[..SegmentHeader::BYTES])?;
        if let Some(&last) = active.records.last() {
            counters.write(&counters.log_bytes, file, last as u64, &active.bytes[last..])?;
        }
        self.files.iter().try_for_each(|file| counters.sync(&**file))
    }

    /// Gives back the space of an empty log whose other segment is free. Both were folded, so that a failure (or a
    /// crash that keeps the old lengths) costs nothing but the space.
    pub fn trim(&self) {
        let _ = self.active().set_len(SegmentHeader::BYTES as u64);
        let _ = self.files[slot(self.chain.generation + 1)].set_len(0);
    }

    fn active(&self) -> &dyn StorageFile {
        &*self.files[slot(self.chain.generation)]
    }

    fn reserve(&mut self, end: u64) -> Result<()> {
        if end <= self.reserved {
            return Ok(());
        }
        let target = end.max(self.reserved + self.step).next_multiple_of(SUPERBLOCK_BYTES as u64);
        let file = self.active();
        // If there is no room for a whole step there may still be enough for this record.
        if file.allocate(self.reserved, target - self.reserved).is_err() {
            file.allocate(self.reserved, end - self.reserved)?;
        }
        self.reserved = file.len()?;
        self.step = (self.step * 2).min(STEP_BYTES_MAX);
        Ok(())
    }

    fn note_acked(&self) {
        let mut bytes = [0; Acked::BYTES];
        let mut acked = Acked { magic: ACKED_MAGIC, heap_id: self.heap_id, epoch: self.chain.epoch.0, crc: 0 };
        acked.encode(&mut bytes);
        acked.crc = header_crc(&self.heap_id, &bytes);
        acked.encode(&mut bytes);
        // Best effort: without it a damaged last record is taken for a torn one, which is all that can be known then.
        let _ = self.acked.as_ref().map(|file| file.write_at(0, &bytes));
    }
}

/// The epoch in the bytes of an `acked` file, if they are whole and this heap's.
pub fn acked_epoch(bytes: &[u8], heap_id: &[u8; 16]) -> Option<Epoch> {
    let bytes = bytes.get(..Acked::BYTES)?;
    let acked = Acked::decode(bytes);
    let sound = acked.magic == ACKED_MAGIC && acked.heap_id == *heap_id && acked.crc == header_crc(heap_id, bytes);
    sound.then_some(Epoch(acked.epoch))
}

/// The header of a segment that follows the record (or segment header) with checksum `prev_crc`.
pub fn encode_segment_header(
    heap_id: &[u8; 16],
    generation: u64,
    prev_epoch: Epoch,
    prev_crc: u32,
) -> [u8; SegmentHeader::BYTES] {
    let mut bytes = [0; SegmentHeader::BYTES];
    let mut header = SegmentHeader {
        magic: SEGMENT_MAGIC,
        version: FORMAT_VERSION,
        heap_id: *heap_id,
        generation,
        prev_epoch: prev_epoch.0,
        prev_crc,
        ..SegmentHeader::default()
    };
    header.encode(&mut bytes);
    header.crc = header_crc(heap_id, &bytes);
    header.encode(&mut bytes);
    bytes
}

fn slot(generation: u64) -> usize {
    (generation % 2) as usize
}
