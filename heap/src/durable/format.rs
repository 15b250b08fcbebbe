//! The one source of the on-disk format: magics, version, sizes, and the fixed-size headers.
//!
//! Everything is little-endian. Each header is declared once, with `layout!`, which generates its encoder and decoder
//! and asserts at compile time that the stated offsets are gapless and add up to the stated size. Variable-size
//! contents (a record's payload, a catalog's body) are in `record.rs` and `meta.rs`.
//!
//! Must not: do I/O, or decide what a damaged header means.

use super::bytes::Field;
use crate::base::{Canary, canary};

/// Version of everything below. A heap of another version is refused by name.
pub const FORMAT_VERSION: u32 = 1;
/// Feature flags that this build understands.
pub const KNOWN_FEATURES: u32 = 0;

/// First bytes of each superblock copy.
pub const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"STREWN\xF1\n");
/// First bytes of a log segment.
pub const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"strewLG\n");
/// First bytes of a log record.
pub const RECORD_MAGIC: u64 = u64::from_le_bytes(*b"strewRC\n");
/// First bytes of a catalog file.
pub const META_MAGIC: u64 = u64::from_le_bytes(*b"strewMT\n");
/// First bytes of the `acked` file.
pub const ACKED_MAGIC: u64 = u64::from_le_bytes(*b"strewAK\n");

const _: () = assert!(SuperblockFields::BYTES <= SUPERBLOCK_CRC_AT, "the fields must end before the checksum");

/// Bytes of one copy of the superblock; the file holds two.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Where the checksum of a copy lies: it covers everything before it.
pub const SUPERBLOCK_CRC_AT: usize = SUPERBLOCK_BYTES - 4;
/// Generations and epochs stay below this. Nobody counts so far; a file that says otherwise is damaged, and the next number always exists.
pub const COUNT_END: u64 = 1 << 62;
/// Records start at multiples of this.
pub const RECORD_ALIGN: usize = 8;
/// Frames in the unit that image files are read in.
pub const CHUNK_FRAMES: u32 = 16;
/// crc32c of a page of zeros.
pub const ZERO_PAGE_CRC: u32 = 0x98F9_4189;

/// Least bytes of a log segment before it may be folded.
pub const LOG_BYTES_MIN: u64 = 1 << 10;
/// Most bytes of a log segment before it is folded.
pub const LOG_BYTES_MAX: u64 = 1 << 36;

/// Names of the files of a heap.
pub mod names {
    /// Two copies of the superblock.
    pub const SUPERBLOCK: &str = "superblock";
    /// The last acknowledged epoch, unsynced.
    pub const ACKED: &str = "acked";
    /// The file that `fcntl` locks.
    pub const LOCK: &str = "lock";
    /// The two log segments; generation G lives in number G % 2.
    pub const LOGS: [&str; 2] = ["log-0", "log-1"];
    /// The two catalogs; generation g lives in number g % 2.
    pub const METAS: [&str; 2] = ["meta-0", "meta-1"];

    /// The image file of the zone with this index.
    pub fn zone(index: usize) -> String {
        format!("zone-{index:03}")
    }
}

/// Declares a fixed-size header: its fields with their offsets, in order and without gaps.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$field_doc:meta])* $at:literal $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "a field is called what it holds, and shown to suites alone")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }

        const _: () = {
            let mut at = 0;
            $(assert!(at == $at, "fields must follow each other"); at += size_of::<$ty>();)*
            assert!(at == $size, "fields must fill the header");
        };

        impl $name {
            /// Bytes of the encoded header.
            pub const BYTES: usize = $size;

            /// Writes the header to the start of `out`.
            pub fn encode(&self, out: &mut [u8]) {
                $(self.$field.put(&mut out[$at..$at + size_of::<$ty>()]);)*
            }

            /// Reads the header from the start of `bytes`, whatever they are.
            pub fn decode(bytes: &[u8]) -> Self {
                Self { $($field: <$ty>::get(&bytes[$at..$at + size_of::<$ty>()]),)* }
            }
        }
    };
}

layout! {
    /// The fields at the start of a superblock copy; zeros follow up to the checksum at [`SUPERBLOCK_CRC_AT`].
    SuperblockFields: 88 {
        0 magic: u64,
        8 version: u32,
        12 features: u32,
        16 heap_id: [u8; 16],
        /// Counts folds; the copy with the greater one is the newer.
        32 generation: u64,
        40 log_bytes: u64,
        /// The last epoch that is in the image.
        48 image_epoch: u64,
        /// The first segment that is not in the image.
        56 log_generation: u64,
        64 meta_len: u64,
        72 meta_crc: u32,
        76 meta_slot: u32,
        /// 0: lanes, 1: dense.
        80 addressing: u32,
        84 reserved: u32,
    }
}

layout! {
    /// The start of a log segment. `prev_epoch` and `prev_crc` name the last record of the segment before it.
    SegmentHeader: 64 {
        0 magic: u64,
        8 version: u32,
        12 reserved_a: u32,
        16 heap_id: [u8; 16],
        32 generation: u64,
        40 prev_epoch: u64,
        48 prev_crc: u32,
        52 reserved_b: u64,
        60 crc: u32,
    }
}

layout! {
    /// The start of a record. `prev_crc` is the `crc` of the record (or segment header) right before it.
    RecordHeader: 64 {
        0 magic: u64,
        8 generation: u64,
        16 epoch: u64,
        24 prev_epoch: u64,
        32 payload_len: u64,
        40 prev_crc: u32,
        44 payload_crc: u32,
        48 reserved_a: u64,
        56 reserved_b: u32,
        60 crc: u32,
    }
}

layout! {
    /// The start of a catalog file.
    MetaHeader: 64 {
        0 magic: u64,
        8 version: u32,
        12 reserved: u32,
        16 heap_id: [u8; 16],
        32 generation: u64,
        40 epoch: u64,
        48 body_len: u64,
        56 body_crc: u32,
        60 crc: u32,
    }
}

layout! {
    /// The whole `acked` file.
    Acked: 36 {
        0 magic: u64,
        8 heap_id: [u8; 16],
        24 epoch: u64,
        32 crc: u32,
    }
}

/// The checksum of a header whose last four bytes are the place for it; mixed with the heap's id, so that no
/// other heap's bytes can pass for this one's.
pub fn header_crc(heap_id: &[u8; 16], header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(heap_id), &header[..header.len() - 4])
}

/// The checksum of a record's payload.
pub fn payload_crc(payload: &[u8]) -> u32 {
    let covered = if canary(Canary::ChecksumWithoutLength) { payload.len().min(8) } else { payload.len() };
    crc32c::crc32c(&payload[..covered])
}

/// Where a record of this payload ends, relative to its start.
pub fn record_bytes(payload_len: usize) -> usize {
    (RecordHeader::BYTES + payload_len).next_multiple_of(RECORD_ALIGN)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn zero_page_crc_is_that_of_a_page_of_zeros() {
        assert_eq!(crc32c::crc32c(&[0; 4096]), ZERO_PAGE_CRC);
    }

    #[test]
    fn headers_survive_their_bytes() {
        let header =
            RecordHeader { magic: RECORD_MAGIC, epoch: 7, prev_crc: 9, crc: 0x1234_5678, ..Default::default() };
        let mut bytes = [0xFF; RecordHeader::BYTES];
        header.encode(&mut bytes);
        assert_eq!(RecordHeader::decode(&bytes), header);
        assert_eq!(bytes[60..], [0x78, 0x56, 0x34, 0x12]);
    }

    #[test]
    fn header_crc_depends_on_the_heap() {
        assert_ne!(header_crc(&[1; 16], &[0; 64]), header_crc(&[2; 16], &[0; 64]));
    }
}
