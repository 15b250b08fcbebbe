//! A tracker that fails when it is told to.

use super::{TrackerKind, WriteTracker};
use crate::base::{Error, ErrorKind, PAGE, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A fuse that does not blow, however many calls a test makes.
pub const NEVER: u32 = u32::MAX;

/// How many calls of a kind succeed before they fail, until the fuse is set again.
pub struct Fuse(AtomicU32);

impl Fuse {
    /// Lets `successes` calls succeed; with [`NEVER`], all.
    pub fn set(&self, successes: u32) {
        // Relaxed, here and below: one thread.
        self.0.store(successes, Ordering::Relaxed);
    }

    fn holds(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            NEVER => true,
            0 => false,
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                true
            }
        }
    }
}

impl Default for Fuse {
    fn default() -> Self {
        Self(AtomicU32::new(NEVER))
    }
}

/// The fuses of a [`Failing`].
#[derive(Default)]
pub struct Fuses {
    pub harvest: Fuse,
    pub track: Fuse,
    pub arm: Fuse,
    pub refine: Fuse,
    /// What is done before each harvest, as if by another thread.
    pub meanwhile: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

/// A tracker whose calls fail when their fuse has blown. All but `track` fail half way, with the first half of the range done.
pub struct Failing {
    pub inner: Box<dyn WriteTracker>,
    pub fuses: Arc<Fuses>,
}

fn blew(range: &Range<u64>) -> (Range<u64>, Error) {
    let pages = (range.end - range.start) / PAGE as u64;
    let half = range.start..range.start + pages.div_ceil(2) * PAGE as u64;
    (half, Error::new(ErrorKind::OutOfMemory, "the fuse blew"))
}

impl WriteTracker for Failing {
    fn kind(&self) -> TrackerKind {
        self.inner.kind()
    }
    fn sees_kernel_writes(&self) -> bool {
        self.inner.sees_kernel_writes()
    }
    unsafe fn track(&self, range: Range<u64>) -> Result<()> {
        if !self.fuses.track.holds() {
            return Err(blew(&range).1);
        }
        // SAFETY: the contract is passed on.
        unsafe { self.inner.track(range) }
    }
    fn untrack(&self, range: Range<u64>) {
        self.inner.untrack(range);
    }
    fn tracks_huge_pages(&self) -> bool {
        self.inner.tracks_huge_pages()
    }
    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        if let Some(meanwhile) = &mut *self.fuses.meanwhile.lock().unwrap() {
            meanwhile();
        }
        if self.fuses.harvest.holds() {
            return self.inner.harvest(range, sink);
        }
        let (half, error) = blew(&range);
        self.inner.harvest(half, sink)?;
        Err(error)
    }
    fn arm(&self, range: Range<u64>) -> Result<()> {
        if self.fuses.arm.holds() {
            return self.inner.arm(range);
        }
        let (half, error) = blew(&range);
        self.inner.arm(half)?;
        Err(error)
    }
    fn fill(&self, range: Range<u64>) -> Result<()> {
        if self.fuses.refine.holds() { self.inner.fill(range) } else { Err(blew(&range).1) }
    }
    fn refine(&self, range: Range<u64>) -> Result<()> {
        if self.fuses.refine.holds() {
            return self.inner.refine(range);
        }
        let (half, error) = blew(&range);
        self.inner.refine(half)?;
        Err(error)
    }
}
