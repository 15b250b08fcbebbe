//! What the tests of cuts share: a tracker that fails when it is told to.

use crate::base::{Error, ErrorKind, PAGE, Result};
use crate::track::{TrackerKind, WriteTracker};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A fuse that does not blow, however many harvests a test makes.
pub const NEVER: u32 = u32::MAX;

/// A tracker whose harvest fails once, after as many successes as its fuse says: half way, with what it found until then told and armed.
pub struct Failing {
    pub inner: Box<dyn WriteTracker>,
    pub fuse: Arc<AtomicU32>,
}

impl WriteTracker for Failing {
    fn kind(&self) -> TrackerKind {
        self.inner.kind()
    }
    fn sees_kernel_writes(&self) -> bool {
        self.inner.sees_kernel_writes()
    }
    unsafe fn track(&self, range: Range<u64>) -> Result<()> {
        // SAFETY: the contract is passed on.
        unsafe { self.inner.track(range) }
    }
    fn untrack(&self, range: Range<u64>) {
        self.inner.untrack(range);
    }
    fn tracks_huge_pages(&self) -> bool {
        self.inner.tracks_huge_pages()
    }
    fn refine(&self, range: Range<u64>) -> Result<()> {
        self.inner.refine(range)
    }
    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        // Relaxed: one thread.
        if self.fuse.fetch_sub(1, Ordering::Relaxed) > 0 {
            return self.inner.harvest(range, sink);
        }
        let pages = (range.end - range.start) / PAGE as u64;
        self.inner.harvest(range.start..range.start + pages.div_ceil(2) * PAGE as u64, sink)?;
        Err(Error::new(ErrorKind::OutOfMemory, "the fuse blew"))
    }
}
