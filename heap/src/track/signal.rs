//! The signal tracker: pages are read-only once armed, and the SIGSEGV handler opens those that are written.
//!
//! The marks are in [`super::marks`]: one state a zone, made once, never freed, found by the handler through a static
//! table. A tracker owns the zones it tracks in until it is dropped; the handler is common to all trackers.
//!
//! # Why no write is lost
//! Per page there is a dirty mark and a protection. Outside of the calls below, **writable implies marked** (I1).
//!
//! - The handler opens the page, *then* marks it, and is counted as active from before the first to after the second.
//! - `harvest` waits for the handlers active when it starts, takes (clears) the marks, *then* protects, *then* tells.
//!
//! Let a write W to page p be done before `harvest` starts. The page was writable for W, so by I1 it was marked, or the
//! handler that opened it had not marked it yet; that handler is waited for. So the harvest takes the mark and tells of p
//! after W is in memory. Let W run beside the harvest. Before the protect, it is in memory when p is told of. After it, W
//! faults, and its handler marks p after the marks were taken: the next harvest tells. A handler that opens p between
//! the take and the protect is overruled by the protect, its thread faults again, and the mark it left is spurious. One that
//! opens p after the protect marks it after that, so I1 holds again when both are done. Opening first matters: a mark
//! set first could be taken, and the page then opened without one.
//!
//! Protecting more than was taken is harmless by the same argument: a page that stays marked is told of again. So each
//! batch is protected by a single call, whatever lies between its pages.
//!
//! # Too many mappings
//! Each lone writable page splits a mapping. When half of vm.max_map_count may be used up, the handler opens stretches of
//! 64 pages at a time, then of 4096. At the limit itself the kernel refuses to open another (ENOMEM). Then the
//! handler opens ever wider stretches around the page, clipped to what is tracked, and marks every page in them. The
//! last one is the whole tracked run: its ends are ends of mappings, or lie in one that is writable already, so nothing is
//! split. A refused call may have opened part of its stretch, so the stretch is marked all the same.

use super::{
    TrackerKind, WriteTracker,
    marks::{self, ZoneMarks},
};
use crate::{
    base::{Error, ErrorKind, Mistake, Result},
    sys::{fork, limits::max_map_count, pages::protect, signal},
};
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

/// Pages that the handler opens at once, in turn, while the kernel refuses: aligned stretches of these sizes, the largest
/// being a lane, then all that is tracked around the page.
const WIDTHS: [u64; 5] = [1, 64, 4096, 1 << 18, u64::MAX];

/// Faults served since their pages were last harvested, each of which may have split a mapping in three. At least zero after
/// a harvest of everything: fresh pages are harvested, too, but were never counted in.
static SPLITS: AtomicU64 = AtomicU64::new(0);
/// Splits after which the handler opens more than a page at a time: a quarter of vm.max_map_count, so that pages alone
/// use up half of the mappings, and the rest of the program keeps the other half.
static SPLITS_MAX: AtomicU64 = AtomicU64::new(0);

/// See the module.
pub struct SignalTracker {
    id: u64,
    generation: u32,
}

impl SignalTracker {
    /// A tracker that tracks nothing yet.
    ///
    /// # Errors
    /// If the handler cannot be installed.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        fork::install();
        // Relaxed, here and for the other uses: a stale value costs precision, not correctness.
        SPLITS_MAX.store(max_map_count() / 4, Ordering::Relaxed);
        signal::install(on_fault)?;
        // Relaxed: only distinctness matters.
        Ok(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), generation: fork::fork_generation() })
    }
}

/// Serves a fault at a tracked page. Runs in the signal handler.
fn on_fault(addr: u64) -> bool {
    // SAFETY: the pages are tracked, so by the contract of `track` they lie in a mapped lane.
    marks::find(addr).is_some_and(|zone| serve(zone, addr, |pages| unsafe { protect(pages, true) }))
}

/// Serves a fault in `zone`, where `open` makes pages writable.
fn serve(zone: &ZoneMarks, addr: u64, open: impl Fn(Range<u64>) -> Result<(), i32>) -> bool {
    let active = zone.enter_handler();
    let page = zone.page_of(addr);
    let served = if zone.is_tracked(page) { open_and_mark(zone, page, open) } else { zone.first_fault_of(addr) };
    zone.leave_handler(active);
    served
}

/// Opens `page`, or what the kernel allows around it; then marks what it may have opened.
fn open_and_mark(zone: &ZoneMarks, page: u64, open: impl Fn(Range<u64>) -> Result<(), i32>) -> bool {
    let splits = SPLITS.fetch_add(1, Ordering::Relaxed);
    let splits_max = SPLITS_MAX.load(Ordering::Relaxed);
    let narrowest = usize::from(splits > splits_max) + usize::from(splits > splits_max + splits_max / 4);
    for &width in &WIDTHS[narrowest..] {
        let pages = match width {
            1 => page..page + 1,
            u64::MAX => zone.tracked_around(page, 0..zone.pages()),
            width => {
                let first = page & !(width - 1);
                zone.tracked_around(page, first..(first + width).min(zone.pages()))
            }
        };
        if Mistake::MarksBeforeOpening.is_made() {
            zone.mark(&pages);
            return open(zone.addresses(&pages)).is_ok();
        }
        let opened = open(zone.addresses(&pages));
        if zone.mark(&pages) == 0 {
            // Another thread's fault at the same page was faster, and has been counted.
            harvested(1);
        }
        match opened {
            Ok(()) => return true,
            Err(libc::ENOMEM) => (),
            Err(_) => return false,
        }
    }
    false
}

/// Takes `pages` off the count of splits.
fn harvested(pages: u64) {
    let _ = SPLITS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |splits| Some(splits.saturating_sub(pages)));
}

impl SignalTracker {
    /// The marks for `range`, which must be tracked by this tracker at its start.
    fn zone_of(&self, range: &Range<u64>) -> Result<&'static ZoneMarks> {
        fork::same_process(self.generation)?;
        match marks::find(range.start) {
            Some(zone) if zone.is_owned_by(self.id) && zone.holds(range) => Ok(zone),
            _ => {
                let what = format!("{:#x}..{:#x} is not tracked by this signal tracker", range.start, range.end);
                Err(Error::new(ErrorKind::InvalidArgument, what))
            }
        }
    }
}

impl WriteTracker for SignalTracker {
    fn kind(&self) -> TrackerKind {
        TrackerKind::Signal
    }

    fn sees_kernel_writes(&self) -> bool {
        false
    }

    unsafe fn track(&self, range: Range<u64>) -> Result<()> {
        fork::same_process(self.generation)?;
        let zone = marks::claim(&range, self.id)?;
        zone.add(&zone.pages_of(&range));
        Ok(())
    }

    fn untrack(&self, range: Range<u64>) {
        let Ok(zone) = self.zone_of(&range) else { return };
        // SAFETY: the range is tracked until the next line, so it lies in a mapped lane.
        if unsafe { protect(range.clone(), true) }.is_ok() {
            zone.forget(&zone.pages_of(&range));
        }
        // Else the kernel is short of mappings, and the pages stay tracked: the handler still opens them as they are written.
    }

    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        // SAFETY: the span lies in `range`, which is tracked, so it lies in mapped lanes.
        harvest(self.zone_of(&range)?, range, |span| unsafe { protect(span, false) }, sink)
    }
}

/// Harvests `range` of `zone`, where `arm` makes pages read-only.
fn harvest(
    zone: &ZoneMarks,
    range: Range<u64>,
    arm: impl Fn(Range<u64>) -> Result<(), i32>,
    sink: &mut dyn FnMut(Range<u64>),
) -> Result<()> {
    let mut harvest = zone.start_harvest();
    let mut left = zone.pages_of(&range);
    if Mistake::ArmsBeforeTaking.is_made() {
        let _ = arm(range);
    }
    while !left.is_empty() {
        left.start = harvest.take(&left);
        let runs = harvest.runs();
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { break };
        let span = zone.addresses(&(first.start..last.end));
        let armed = if Mistake::ArmsBeforeTaking.is_made() { Ok(()) } else { arm(span.clone()) };
        if let Err(errno) = armed {
            runs.iter().for_each(|run| _ = zone.mark(run));
            let what = format!("mprotect {:#x}..{:#x} read-only", span.start, span.end);
            return Err(Error::os(what, std::io::Error::from_raw_os_error(errno)));
        }
        harvested(runs.iter().map(|run| run.end - run.start).sum());
        runs.iter().for_each(|run| sink(zone.addresses(run)));
    }
    Ok(())
}

impl Drop for SignalTracker {
    fn drop(&mut self) {
        if fork::same_process(self.generation).is_ok() {
            for zone in marks::owned_by(self.id) {
                zone.each_tracked(|pages| {
                    // It splits no mapping, as the run is all that is tracked there, so it does not fail for want of one. It
                    // fails where the zone is unmapped already, and then there is nothing to open.
                    // SAFETY: the pages are tracked, so they lie in a lane that is mapped, or was and is gone.
                    let _ = unsafe { protect(zone.addresses(&pages), true) };
                    zone.forget(&pages);
                });
                zone.release();
            }
        }
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
