//! [`Ticket`]: a checkpoint that is on its way to the disk.

use crate::base::sync::{Condvar, Mutex, lock, wait};
use crate::base::{Epoch, Mistake, Result};
use std::sync::Arc;

/// The outcome of one checkpoint, once it is known.
#[derive(Default)]
pub struct Pending {
    outcome: Mutex<Option<Result<Epoch>>>,
    known: Condvar,
}

impl Pending {
    /// Makes the outcome known. Once.
    pub fn resolve(&self, outcome: Result<Epoch>) {
        let mut slot = lock(&self.outcome);
        debug_assert!(slot.is_none(), "a checkpoint has one outcome");
        *slot = Some(outcome);
        if !Mistake::TicketWakesNobody.is_made() {
            self.known.notify_all();
        }
    }

    /// The outcome, if it is known.
    pub fn poll(&self) -> Option<Result<Epoch>> {
        lock(&self.outcome).clone()
    }

    /// Blocks until the outcome is known.
    pub fn wait(&self) -> Result<Epoch> {
        let mut slot = lock(&self.outcome);
        if Mistake::TicketLooksOnce.is_made() {
            slot = wait(&self.known, slot);
        }
        loop {
            if let Some(outcome) = &*slot {
                return outcome.clone();
            }
            slot = wait(&self.known, slot);
        }
    }
}

/// A checkpoint whose cut has been made, and which becomes durable in the background.
///
/// Dropping a ticket does not cancel the checkpoint.
#[derive(Clone)]
pub struct Ticket {
    pending: Arc<Pending>,
    cut: CutReport,
}

/// What a cut found and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutReport {
    /// The number of the checkpoint. If nothing was modified, that of the last one.
    pub epoch: u64,
    /// Objects copied because they were written or are new, or may have been written (`suspects`). For objects in page runs, pages.
    pub objects_modified: u64,
    /// Those of them that were copied because one of their neighbours woke a cold lane-block (ARCHITECTURE.md, "The granularity ladder"). They are compared with the image in the
    /// background, and written only if they have changed.
    pub suspects: u64,
    /// Bytes of all objects copied.
    pub bytes_modified: u64,
    /// Bytes of the record, without its header, before suspects that have not changed are left out. 0 if nothing was modified, and nothing is written then.
    pub record_bytes: u64,
    /// What a page-granular checkpoint would have copied: every page with a modified object, whole.
    pub page_bytes: u64,
    /// How often the world was stopped: 1, or 2 if cold objects were written to while they were being scanned beside the running program.
    pub passes: u32,
    /// Nanoseconds of scanning cold objects before and after the world was stopped, while the program ran.
    pub beside_ns: u64,
    /// Nanoseconds until every thread had left its section.
    pub drain_ns: u64,
    /// Nanoseconds of finding out what was written, and arming it again.
    pub scan_ns: u64,
    /// Nanoseconds of copying what was written.
    pub copy_ns: u64,
}

impl CutReport {
    /// Nanoseconds for which threads were kept out of sections: drain, scan and copy, of all passes together.
    pub fn pause_ns(&self) -> u64 {
        self.drain_ns + self.scan_ns + self.copy_ns
    }
}

impl Ticket {
    pub(crate) fn new(pending: Arc<Pending>, cut: CutReport) -> Self {
        Self { pending, cut }
    }

    /// What the cut found.
    pub fn cut(&self) -> CutReport {
        self.cut
    }

    /// Blocks until the checkpoint is durable.
    ///
    /// # Errors
    /// If it could not be written: `StorageFull`, `Io`, or `Poisoned`. The heap's last durable checkpoint is intact, and what this one held goes into the next.
    pub fn wait(&self) -> Result<CutReport> {
        self.pending.wait().map(|_| self.cut)
    }

    /// Like [`Ticket::wait`], without blocking: `None` while it is not known.
    ///
    /// # Errors
    /// As for [`Ticket::wait`].
    pub fn try_wait(&self) -> Option<Result<CutReport>> {
        Some(self.pending.poll()?.map(|_| self.cut))
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
