//! The asynchronous tracker, also used page by page over the dense lane: userfaultfd arms, the kernel itself notes the
//! first write, PAGEMAP_SCAN finds and arms again.
//!
//! No write is lost, because the scan takes a page's mark and arms it under the page-table lock, and only then leaves
//! it: a write before that is in memory and reported, a write after it faults and marks the page anew. A page whose entry is
//! missing counts as written. After an error it is unknown which pages were armed, so all of them are reported.
//!
//! Memory is neither allocated by `track` nor, after the first call, by `harvest`.

use super::{TrackerKind, WriteTracker};
use crate::{
    base::{Canary, Error, ErrorKind, Result, canary},
    sys::{
        fork,
        pages::{FAULT_AROUND_BYTES, advise, touch},
        probe::probe,
        scan::{NO_REGION, Pagemap, Region},
        uffd::Uffd,
    },
};
use std::{ops::Range, sync::Mutex};

/// Regions that one scan returns; few in tests, so that every scan has to be resumed.
const REGIONS: usize = if cfg!(any(test, feature = "testing")) { 7 } else { 4096 };

/// See the module.
pub struct UffdTracker {
    kind: TrackerKind,
    uffd: Uffd,
    pagemap: Pagemap,
    /// Where scans put what they find; taken out by a harvest, so that harvests neither wait for each other nor allocate.
    regions: Mutex<Vec<Region>>,
    generation: u32,
}

impl UffdTracker {
    /// A tracker that tracks nothing yet.
    ///
    /// # Errors
    /// `Unsupported`, with the feature that the kernel lacks.
    pub fn new(kind: TrackerKind) -> Result<Self> {
        fork::install();
        if let Some((feature, why)) = probe().missing_for_async() {
            let what = format!("the {kind} tracker needs {feature}, which is missing: {why}");
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok(Self {
            kind,
            uffd: Uffd::new()?,
            pagemap: Pagemap::open()?,
            regions: Mutex::new(vec![NO_REGION; REGIONS]),
            generation: fork::fork_generation(),
        })
    }

    fn scan(&self, range: Range<u64>, regions: &mut [Region], sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let mut from = range.start;
        while from < range.end {
            let (found, done) = match self.pagemap.take_written(from..range.end, regions) {
                Ok(taken) => taken,
                Err(e) => {
                    sink(from..range.end);
                    return Err(e);
                }
            };
            found.iter().for_each(|region| sink(region.start..region.end));
            from = if canary(Canary::WalkEndDropped) { range.end } else { done };
        }
        Ok(())
    }
}

impl WriteTracker for UffdTracker {
    fn kind(&self) -> TrackerKind {
        self.kind
    }

    fn sees_kernel_writes(&self) -> bool {
        true
    }

    unsafe fn track(&self, range: Range<u64>) -> Result<()> {
        fork::same_process(self.generation)?;
        // SAFETY: by this function's contract the range lies in a shared mapping of the working memory, a memfd.
        unsafe { self.uffd.register(range) }
    }

    fn untrack(&self, range: Range<u64>) {
        if fork::same_process(self.generation).is_ok() {
            // It fails if the range is not mapped, which the contract of `track` excludes. Then nothing is tracked either.
            let ended = self.uffd.unregister(range);
            debug_assert!(ended.is_ok(), "{ended:?}");
        }
    }

    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        fork::same_process(self.generation)?;
        let mut regions = std::mem::take(&mut *self.lock_regions());
        if regions.is_empty() {
            // Another harvest is running.
            regions = vec![NO_REGION; REGIONS];
        }
        let scanned = self.scan(range, &mut regions, sink);
        *self.lock_regions() = regions;
        scanned
    }

    fn tracks_huge_pages(&self) -> bool {
        true
    }

    /// The huge page's entry is dropped, and a table of markers takes its place: a page that is touched is mapped on its own, armed.
    fn refine(&self, range: Range<u64>) -> Result<()> {
        fork::same_process(self.generation)?;
        // SAFETY: the range is tracked, so it is a shared mapping of a memfd: its bytes stay in the memfd.
        unsafe { advise(range.clone(), libc::MADV_DONTNEED, "MADV_DONTNEED")? };
        self.uffd.protect(range)
    }

    /// A refined range has markers; the first write to one faults twice, 2.05 us. This puts entries in their place, which takes 42 us for a block, and a first write then takes 0.78 us.
    /// While a range is registered, each page must fault for that (400 us for a block); so it is not, for a moment.
    fn fill(&self, range: Range<u64>) -> Result<()> {
        fork::same_process(self.generation)?;
        if self.uffd.unregister(range.clone()).is_err() {
            // A part of a mapping is one mapping more, which the kernel refuses at their limit; it may have disarmed the range by then.
            return self.uffd.protect(range);
        }
        // SAFETY: the range is tracked, so it is a mapping of a memfd; by the contract of `fill` nobody writes to its pages.
        unsafe { touch(range.clone(), FAULT_AROUND_BYTES, 0) };
        // SAFETY: as above, a shared mapping of a memfd.
        unsafe { self.uffd.register(range.clone())? };
        self.uffd.protect(range)
    }

    fn arm(&self, range: Range<u64>) -> Result<()> {
        fork::same_process(self.generation)?;
        self.pagemap.arm(range)
    }
}

impl UffdTracker {
    fn lock_regions(&self) -> std::sync::MutexGuard<'_, Vec<Region>> {
        self.regions.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}
