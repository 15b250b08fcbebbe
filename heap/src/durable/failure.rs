//! [`Failure`]: whether what failed may be tried again; and [`Counters`], through which all writes and syncs go.
//!
//! 1. A write that fails before its sync commits nothing: it may be tried again, at the same place.
//! 2. A sync that fails is final. What the disk holds is unknown, and the page cache lies about it: Linux marks the
//!    pages clean, so that the next sync succeeds without having written them. Only reopening, which reads everything
//!    back and rewrites what it relies on, ends that state.

use super::folded::Sifted;
use super::storage::StorageFile;
use crate::base::sync::{AtomicU64, Ordering};
use crate::base::{Canary, Error, Result, canary};

/// An error, and what it means for the store.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Nothing was committed, and nothing was lost.
    Retry(Error),
    /// A sync failed: nothing may be written until the store is opened again.
    Poison(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Retry(error)
    }
}

impl Failure {
    /// The error, for the one who asked.
    pub fn into_error(self) -> Error {
        match self {
            Failure::Retry(error) | Failure::Poison(error) => error,
        }
    }
}

/// Bytes written and syncs done since the store was opened.
///
/// All accesses are relaxed: these are statistics, and no other memory is read on their account.
#[derive(Debug, Default)]
pub struct Counters {
    pub log_bytes: AtomicU64,
    pub image_bytes: AtomicU64,
    pub meta_bytes: AtomicU64,
    pub superblock_bytes: AtomicU64,
    pub syncs: AtomicU64,
    pub folds: AtomicU64,
    pub suspects: AtomicU64,
    pub unchanged: AtomicU64,
}

impl Counters {
    /// Writes, and counts the bytes in `counter`, which is one of these.
    pub fn write(&self, counter: &AtomicU64, file: &dyn StorageFile, offset: u64, bytes: &[u8]) -> Result<()> {
        file.write_at(offset, bytes)?;
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts what sifting a record found.
    pub fn note_sifted(&self, sifted: Sifted) {
        self.suspects.fetch_add(sifted.suspects, Ordering::Relaxed);
        self.unchanged.fetch_add(sifted.unchanged, Ordering::Relaxed);
    }

    /// Syncs; a failure poisons.
    pub fn sync(&self, file: &dyn StorageFile) -> Result<(), Failure> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let forgotten = canary(Canary::FailedSyncForgotten);
        file.sync().map_err(if forgotten { Failure::Retry } else { Failure::Poison })
    }
}
