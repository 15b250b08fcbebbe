//! Puts checksums right, so that damage gets behind them.
//!
//! Must not: understand more of the files than where their checksums are.

use super::memory::Files;
use strewn::testing::format::{
    Acked, MetaHeader, RECORD_MAGIC, RecordHeader, SEGMENT_MAGIC, SUPERBLOCK_BYTES, SUPERBLOCK_CRC_AT, SegmentHeader,
    SuperblockFields, header_crc, names, record_bytes,
};

/// Puts the checksums of both superblock copies right.
pub const SUPERBLOCK: u8 = 1;
/// Puts those of log segments and records right, and what they repeat of each other.
pub const LOGS: u8 = 2;
/// Puts those of catalogs right.
pub const METAS: u8 = 4;
/// Makes the superblock name the catalogs as they are.
pub const LINK: u8 = 8;
/// Puts that of the last acknowledged epoch right.
pub const ACKED: u8 = 16;

/// Does what the bits of `what` say.
pub fn repair(files: &mut Files, what: u8) {
    let superblock = files.get(names::SUPERBLOCK).filter(|bytes| bytes.len() >= SuperblockFields::BYTES);
    let Some(heap_id) = superblock.map(|bytes| SuperblockFields::decode(bytes).heap_id) else { return };
    if what & LOGS != 0 {
        logs(files, &heap_id);
    }
    if what & METAS != 0 {
        names::METAS.iter().filter_map(|name| files.get_mut(*name).map(|bytes| meta(bytes, &heap_id))).for_each(drop);
    }
    if what & (SUPERBLOCK | LINK) != 0 {
        superblocks(files, what & LINK != 0);
    }
    if what & ACKED != 0
        && let Some(bytes) = files.get_mut(names::ACKED).filter(|bytes| bytes.len() >= Acked::BYTES)
    {
        seal(&mut bytes[..Acked::BYTES], &heap_id);
    }
}

/// Puts the checksum at the end of a header right, and returns it.
pub fn seal(header: &mut [u8], heap_id: &[u8; 16]) -> u32 {
    let crc = header_crc(heap_id, header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn superblocks(files: &mut Files, link: bool) {
    let metas = names::METAS.map(|name| {
        let bytes = files.get(name).filter(|bytes| bytes.len() >= MetaHeader::BYTES)?;
        Some((bytes.len() as u64, MetaHeader::decode(bytes).crc))
    });
    let Some(bytes) = files.get_mut(names::SUPERBLOCK) else { return };
    for copy in bytes.chunks_exact_mut(SUPERBLOCK_BYTES) {
        let mut fields = SuperblockFields::decode(copy);
        if let Some((len, crc)) = metas[(fields.meta_slot % 2) as usize].filter(|_| link) {
            (fields.meta_len, fields.meta_crc) = (len, crc);
            fields.encode(copy);
        }
        let crc = crc32c::crc32c(&copy[..SUPERBLOCK_CRC_AT]);
        copy[SUPERBLOCK_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn meta(bytes: &mut [u8], heap_id: &[u8; 16]) {
    let Some((head, body)) = bytes.split_at_mut_checked(MetaHeader::BYTES) else { return };
    let mut header = MetaHeader::decode(head);
    (header.body_len, header.body_crc) = (body.len() as u64, crc32c::crc32c(body));
    header.encode(head);
    seal(head, heap_id);
}

/// The older segment first, because the newer one names its end.
fn logs(files: &mut Files, heap_id: &[u8; 16]) {
    let generation = |name: &&str| {
        let bytes = files.get(*name).filter(|bytes| bytes.len() >= SegmentHeader::BYTES);
        bytes.map_or(0, |bytes| SegmentHeader::decode(bytes).generation)
    };
    let mut order = names::LOGS;
    order.sort_by_key(generation);
    let mut end: Option<(u64, u64, u32)> = None;
    for name in order {
        let Some(bytes) = files.get_mut(name).filter(|bytes| bytes.len() >= SegmentHeader::BYTES) else { continue };
        let mut header = SegmentHeader::decode(bytes);
        if header.magic != SEGMENT_MAGIC {
            continue;
        }
        if let Some((generation, epoch, crc)) =
            end.filter(|(generation, ..)| generation.checked_add(1) == Some(header.generation))
        {
            debug_assert!(generation < header.generation);
            (header.prev_epoch, header.prev_crc) = (epoch, crc);
            header.encode(bytes);
        }
        let crc = seal(&mut bytes[..SegmentHeader::BYTES], heap_id);
        let (epoch, crc) = records(bytes, &header, crc, heap_id);
        end = Some((header.generation, epoch, crc));
    }
}

/// Returns the epoch and the checksum of the last record.
fn records(bytes: &mut [u8], segment: &SegmentHeader, crc: u32, heap_id: &[u8; 16]) -> (u64, u32) {
    let (mut at, mut epoch, mut prev) = (SegmentHeader::BYTES, segment.prev_epoch, crc);
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= RecordHeader::BYTES) {
        let (head, payload) = rest.split_at_mut(RecordHeader::BYTES);
        let mut header = RecordHeader::decode(head);
        let len = usize::try_from(header.payload_len).ok().filter(|len| *len <= payload.len());
        let Some(len) = len.filter(|_| header.magic == RECORD_MAGIC) else { break };
        header.payload_crc = crc32c::crc32c(&payload[..len]);
        (header.generation, header.prev_epoch, header.prev_crc) = (segment.generation, epoch, prev);
        header.encode(head);
        prev = seal(head, heap_id);
        epoch = header.epoch;
        at += record_bytes(len);
    }
    (epoch, prev)
}
