//! What a heap counts, for programs to show and for tests to compare.

use crate::base::Epoch;
use crate::checkpoint::{CutReport, Live};
use crate::durable::StoreStats;
use crate::track::TrackerKind;
use hdrhistogram::Histogram;

/// Counters since the heap was opened, and its state as of the last checkpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// The last checkpoint that was cut.
    pub epoch: u64,
    /// How writes are caught.
    pub tracker: TrackerKind,
    /// Live objects, as of the last checkpoint.
    pub live_objects: u64,
    /// Bytes of their slots and pages.
    pub live_bytes: u64,
    /// Bytes of memory that objects take now, free slots included.
    pub arena_bytes: u64,
    /// Bytes of memory that the allocator's bookkeeping takes now.
    pub metadata_bytes: u64,
    /// Zones in use.
    pub zones: usize,
    /// Checkpoints that had something to record.
    pub checkpoints: u64,
    /// Objects they copied. For objects in page runs, pages.
    pub objects_modified: u64,
    /// Bytes of these objects.
    pub bytes_modified: u64,
    /// What page-granular checkpoints would have copied.
    pub page_bytes: u64,
    /// Bytes written to the log: what checkpoints wait for.
    pub log_bytes: u64,
    /// Bytes written in the background, folding the log into the image: image, catalog and superblock.
    pub fold_bytes: u64,
    /// Calls of fdatasync.
    pub syncs: u64,
    /// Folds of the log into the image.
    pub folds: u64,
    /// Pauses, in nanoseconds.
    pub pauses: Pauses,
}

/// The distribution of pauses.
#[derive(Clone, Debug)]
pub struct Pauses(Histogram<u64>);

impl Pauses {
    /// The pause that `quantile` (0 to 1) of all are no longer than, in nanoseconds. 0 if there was none.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The longest pause, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// How many pauses there were.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

/// Where a heap counts.
pub struct Counters {
    checkpoints: u64,
    objects_modified: u64,
    bytes_modified: u64,
    page_bytes: u64,
    pauses: Histogram<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        let pauses = Histogram::new(3).expect("three digits are in range");
        Self { checkpoints: 0, objects_modified: 0, bytes_modified: 0, page_bytes: 0, pauses }
    }
}

impl Counters {
    /// Counts a cut that found something.
    pub fn note(&mut self, cut: &CutReport) {
        self.checkpoints += 1;
        self.objects_modified += cut.objects_modified;
        self.bytes_modified += cut.bytes_modified;
        self.page_bytes += cut.page_bytes;
        self.pauses.saturating_record(cut.pause_ns());
    }

    /// The public form.
    pub fn stats(
        &self,
        epoch: Epoch,
        live: Live,
        (metadata_bytes, arena_bytes): (u64, u64),
        store: StoreStats,
        tracker: TrackerKind,
        zones: usize,
    ) -> Stats {
        Stats {
            epoch: epoch.0,
            tracker,
            live_objects: live.objects,
            live_bytes: live.bytes,
            arena_bytes,
            metadata_bytes,
            zones,
            checkpoints: self.checkpoints,
            objects_modified: self.objects_modified,
            bytes_modified: self.bytes_modified,
            page_bytes: self.page_bytes,
            log_bytes: store.log_bytes,
            fold_bytes: store.image_bytes + store.meta_bytes + store.superblock_bytes,
            syncs: store.syncs,
            folds: store.folds,
            pauses: Pauses(self.pauses.clone()),
        }
    }
}
