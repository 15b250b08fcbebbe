//! Who wrote what: the [`WriteTracker`] trait and its implementations.
//!
//! A tracker knows addresses and pages, nothing of zones, frames or slots. It must not allocate through the heap.

mod choose;
#[cfg(all(test, not(any(loom, shuttle))))]
pub mod conformance;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod conformance_huge;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod conformance_kernel;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod conformance_process;
#[cfg(all(test, not(any(loom, shuttle))))]
pub mod fixtures;
#[cfg(not(any(miri, strewn_twin)))]
mod marks;
#[cfg(any(miri, strewn_twin))]
mod shadow;
#[cfg(not(any(miri, strewn_twin)))]
mod signal;
#[cfg(not(any(miri, strewn_twin)))]
mod uffd;

pub use choose::open;

use crate::base::Result;
use std::ops::Range;

/// The ways to find out which pages were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackerKind {
    /// userfaultfd asynchronous write-protect over the lanes, harvested by PAGEMAP_SCAN (Linux 6.7 and later).
    Async,
    /// mprotect and a SIGSEGV handler over the lanes; works on any Linux.
    Signal,
    /// Page-granular: asynchronous write-protect over the dense lane alone. The baseline.
    Page,
}

/// Reports which pages were written since they were last armed.
///
/// Ranges are byte addresses, page-aligned at both ends. All calls may race with writers on other threads: a
/// write that completes before `harvest` returns is either visible in memory by then and reported by this harvest, or
/// reported by the next one. No write is ever reported by neither.
pub trait WriteTracker: Send + Sync {
    /// Which kind this is.
    fn kind(&self) -> TrackerKind;

    /// Whether a write by the kernel, as in `read(2)` into the heap, succeeds and is tracked (otherwise it fails with EFAULT).
    #[allow(dead_code, reason = "part of the contract; the conformance suite asks")]
    fn sees_kernel_writes(&self) -> bool;

    /// Starts tracking `range`. Its pages start unarmed: each counts as written until its first harvest, and writing costs nothing.
    ///
    /// # Errors
    /// If the operating system refuses.
    ///
    /// # Safety
    /// `range` lies in a shared, writable mapping of the heap's working memory that stays mapped until `untrack`.
    unsafe fn track(&self, range: Range<u64>) -> Result<()>;

    /// Stops tracking `range`; it is plain writable memory afterwards.
    #[allow(dead_code, reason = "part of the contract; the engine drops the tracker instead")]
    fn untrack(&self, range: Range<u64>);

    /// Calls `sink` with each range of pages written since it was last armed, in ascending order, and arms them again.
    /// `range` must be tracked. May report pages that were not written (unbacked ones, or neighbours under pressure), never fewer.
    ///
    /// # Errors
    /// If the operating system refuses. What `sink` has been told is armed already, so the caller must keep it.
    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()>;

    /// Whether what is mapped by a huge page is armed and reported as a whole: one write to it, and all its pages count as written.
    fn tracks_huge_pages(&self) -> bool {
        false
    }

    /// From now on each page of `range` is armed and reported on its own, also where huge pages are mapped. All of it is armed. Unlike the other calls it
    /// must not race with writers.
    ///
    /// # Errors
    /// If the operating system refuses. It is unknown then which pages are armed; the others count as written.
    fn refine(&self, range: Range<u64>) -> Result<()> {
        self.arm(range)
    }

    /// Makes the first write to each page of `range`, which was refined, cost less. All of it is armed. It must not race with writers to
    /// these pages, through whatever mapping.
    ///
    /// # Errors
    /// If the operating system refuses. It is unknown then which pages are armed, and whether the range is tracked: [`WriteTracker::track`] it again.
    fn fill(&self, range: Range<u64>) -> Result<()> {
        self.arm(range)
    }

    /// Arms all of `range`, whatever was written before.
    ///
    /// # Errors
    /// As for [`WriteTracker::harvest`].
    fn arm(&self, range: Range<u64>) -> Result<()> {
        self.harvest(range, &mut |_| ())
    }
}
