//! What a heap counts, for programs to show and for tests to compare.

use crate::base::Epoch;
use crate::checkpoint::{CutReport, Live};
use crate::durable::StoreStats;
use crate::ladder::LadderStats;
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
    /// Objects they copied, unchanged ones included. For objects in page runs, pages.
    pub objects_modified: u64,
    /// Objects that were copied because they might have changed, had not, and were not written: see [`CutReport::suspects`].
    pub objects_unchanged: u64,
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
    /// Bytes of log that are collected before they are folded, as fixed at creation.
    pub log_limit_bytes: u64,
    /// Records that were in the log when the heap was opened.
    pub replayed_records: u64,
    /// Bytes of a record that a crash had cut short, dropped when the heap was opened. It was never acknowledged.
    pub dropped_tail_bytes: u64,
    /// The granularity ladder. All zero with the `page` tracker.
    pub ladder: LadderStats,
    /// Pauses: [`drains`](Self::drains), [`scans`](Self::scans) and [`copies`](Self::copies) together.
    pub pauses: Durations,
    /// Waits for sections to end. Long ones come from long sections.
    pub drains: Durations,
    /// Times of finding out what was written, and arming it again.
    pub scans: Durations,
    /// Times of copying what was written.
    pub copies: Durations,
}

/// A distribution of durations in nanoseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u64>);

/// Longer durations count as this one: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

impl Durations {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are in range"))
    }

    fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// What `quantile` (0 to 1) of all durations are no longer than. 0 if there was none.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The longest.
    pub fn max_ns(&self) -> u64 {
        self.0.max()
    }

    /// How many there were.
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
    pauses: Durations,
    drains: Durations,
    scans: Durations,
    copies: Durations,
    epoch: Epoch,
    live: Live,
    opened: Opened,
}

/// What opening the heap found.
#[derive(Clone, Copy)]
pub struct Opened {
    /// The last durable epoch.
    pub epoch: Epoch,
    /// The objects that were recovered.
    pub live: Live,
    /// Bytes of log that are collected before they are folded.
    pub log_limit_bytes: u64,
    /// Records in the log.
    pub replayed_records: u64,
    /// Bytes of a torn record at its end.
    pub dropped_tail_bytes: u64,
}

impl Counters {
    /// All zero.
    pub fn new(opened: Opened) -> Self {
        Self {
            checkpoints: 0,
            objects_modified: 0,
            bytes_modified: 0,
            page_bytes: 0,
            pauses: Durations::new(),
            drains: Durations::new(),
            scans: Durations::new(),
            copies: Durations::new(),
            epoch: opened.epoch,
            live: opened.live,
            opened,
        }
    }

    /// Counts a cut that found something, and left `live` objects.
    pub fn note(&mut self, cut: &CutReport, live: Live) {
        (self.epoch, self.live) = (Epoch(cut.epoch), live);
        self.checkpoints += 1;
        self.objects_modified += cut.objects_modified;
        self.bytes_modified += cut.bytes_modified;
        self.page_bytes += cut.page_bytes;
        self.pauses.record(cut.pause_ns());
        self.drains.record(cut.drain_ns);
        self.scans.record(cut.scan_ns);
        self.copies.record(cut.copy_ns);
    }

    /// The public form.
    pub fn stats(
        &self,
        (metadata_bytes, arena_bytes): (u64, u64),
        store: StoreStats,
        tracker: TrackerKind,
        zones: usize,
        ladder: LadderStats,
    ) -> Stats {
        Stats {
            epoch: self.epoch.0,
            tracker,
            live_objects: self.live.objects,
            live_bytes: self.live.bytes,
            arena_bytes,
            metadata_bytes,
            zones,
            checkpoints: self.checkpoints,
            objects_modified: self.objects_modified,
            objects_unchanged: store.unchanged,
            bytes_modified: self.bytes_modified,
            page_bytes: self.page_bytes,
            log_bytes: store.log_bytes,
            fold_bytes: store.image_bytes + store.meta_bytes + store.superblock_bytes,
            syncs: store.syncs,
            folds: store.folds,
            log_limit_bytes: self.opened.log_limit_bytes,
            replayed_records: self.opened.replayed_records,
            dropped_tail_bytes: self.opened.dropped_tail_bytes,
            ladder,
            pauses: self.pauses.clone(),
            drains: self.drains.clone(),
            scans: self.scans.clone(),
            copies: self.copies.clone(),
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn durations_are_kept_to_three_digits_and_long_ones_saturate() {
        let mut durations = Durations::new();
        assert_eq!((durations.count(), durations.quantile_ns(0.5), durations.max_ns()), (0, 0, 0));
        for ms in 1..=100 {
            durations.record(ms * 1_000_000);
        }
        let near = |got: u64, wanted: u64| got.abs_diff(wanted) * 500 < wanted;
        assert!(near(durations.quantile_ns(0.5), 50_000_000), "{}", durations.quantile_ns(0.5));
        assert!(near(durations.max_ns(), 100_000_000), "{}", durations.max_ns());
        durations.record(u64::MAX);
        assert!(near(durations.max_ns(), LONGEST_NS), "{}", durations.max_ns());
    }
}
