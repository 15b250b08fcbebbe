//! Creation: the files of an empty heap.
//!
//! Whether they appear all at once is up to the caller ([`storage::create`](super::storage::create)); here nothing is
//! durable for sure until `build` returned.

use super::catalog::Catalog;
use super::failure::{Counters, Failure};
use super::format::*;
use super::log::encode_segment_header;
use super::meta;
use super::storage::Storage;
use super::store::StoreOptions;
use super::superblock::Superblock;
use crate::base::{Epoch, Error, ErrorKind, Result};

/// Refuses options that no heap can have.
pub fn check_options(options: &StoreOptions) -> Result<()> {
    let limits = LOG_BYTES_MIN..=LOG_BYTES_MAX;
    if limits.contains(&options.log_bytes) {
        return Ok(());
    }
    let message = format!("log_bytes is {}, which is not within {limits:?}", options.log_bytes);
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Writes all files of an empty heap and syncs them. Nothing refers to them yet, so that the order does not matter.
pub fn build(storage: &dyn Storage, options: &StoreOptions) -> Result<()> {
    let counters = Counters::default();
    let built = (|| {
        let heap_id = options.heap_id;
        let (meta_len, meta_crc) = meta::write(storage, &counters, &heap_id, 1, Epoch(0), &Catalog::default())?;
        let header = encode_segment_header(&heap_id, 1, Epoch(0), 0);
        for (name, bytes) in
            [(names::LOGS[1], &header[..]), (names::LOGS[0], &[]), (names::METAS[0], &[]), (names::ACKED, &[])]
        {
            let file = storage.create_file(name)?;
            file.write_at(0, bytes)?;
            counters.sync(&*file)?;
        }
        let (addressing, log_bytes) = (options.addressing, options.log_bytes);
        let (generation, log_generation, image_epoch) = (1, 1, Epoch(0));
        let superblock =
            Superblock { heap_id, addressing, log_bytes, generation, image_epoch, log_generation, meta_len, meta_crc };
        superblock.write(&*storage.create_file(names::SUPERBLOCK)?, 0, &counters)?;
        storage.sync_dir().map_err(Failure::Retry)
    })();
    built.map_err(Failure::into_error)
}
