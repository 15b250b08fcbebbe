//! The cut: everything that happens while the world is stopped.
//!
//! Invariants:
//! - C1. After a record is durable, the image of every allocated slot and page equals its bytes at the cut. It holds because a record has every slot that
//!   was written since it was last recorded (the tracker reports it), and every one that is newly allocated (the ledger knows it).
//! - C2. What was harvested is recorded or owed: dirty bits stay in the ledger until a record takes them, and a record that failed puts them back.
//! - C3. The order in a record is that of zone table and frame, whatever the threads did: the same operations give the same bytes.
//! - C4. A slot that is recorded as a suspect was allocated at the last cut whose record was not lost, and nothing before it in the same record is about
//!   it: the writer compares it with the image as it was before the record.

use super::roots::RootTable;
use super::threads::{Stopped, Threads};
use super::ticket::{CutReport, Pending};
use crate::alloc::{Allocator, CLASSES, Cache, Class, FrameDelta, RunChange, RunZone, Seat, SlotZone};
use crate::arena::{locate, page_address};
use crate::base::sync::{Mutex, lock};
use crate::base::{
    BLOCK_FRAMES, Canary, Epoch, Error, ErrorKind, FrameIndex, Mistake, PAGE, Result, SlotIndex, SlotMask, ZONE_SHIFT,
    ZoneKind, canary,
};
use crate::durable::{Addressing, Catalog, Item, Record, RecordBuilder};
use crate::sys;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Live objects as of the last cut.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// Allocated objects.
    pub objects: u64,
    /// Bytes of their slots and pages.
    pub bytes: u64,
}

impl Live {
    fn add(&mut self, objects: u64, bytes: u64) {
        self.objects += objects;
        self.bytes += bytes;
    }
}

/// What one cut leaves for the next.
pub struct CutState {
    /// The number of the last cut that found something.
    pub epoch: Epoch,
    /// The outcome of that cut.
    pub last: Option<Arc<Pending>>,
    /// Live objects as of the last cut.
    live: Live,
    /// Those of them in slots.
    slots: Live,
    recorded_zones: usize,
    /// What was owed has been put back, and not been handed to the writer again.
    pub owes: bool,
    /// A cut began and did not end: it panicked, and nobody knows what it had settled.
    begun: bool,
}

impl CutState {
    /// The state after the recovery of `catalog` as of `epoch`.
    pub fn recover(epoch: Epoch, catalog: &Catalog) -> Self {
        let (mut live, mut slots) = (Live::default(), Live::default());
        for zone in &catalog.zones {
            match zone.kind {
                ZoneKind::Slots(layout) => {
                    let objects = zone.allocated.iter().map(|w| u64::from(w.count_ones())).sum::<u64>();
                    slots.add(objects, objects * layout.slot_bytes() as u64);
                }
                ZoneKind::Runs => {
                    let pages = zone.runs.values().map(|pages| u64::from(*pages)).sum::<u64>();
                    live.add(zone.runs.len() as u64, pages * PAGE as u64);
                }
            }
        }
        live.add(slots.objects, slots.bytes);
        Self { epoch, last: None, live, slots, recorded_zones: catalog.zones.len(), owes: false, begun: false }
    }

    /// Live objects as of the last cut.
    pub fn live(&self) -> Live {
        self.live
    }

    /// Marks the begin of a checkpoint. [`CutState::end`] must follow.
    ///
    /// # Errors
    /// `Poisoned` if it did not follow the last time: what that cut had taken note of would be missing from this one.
    pub fn begin(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            let what = "a checkpoint panicked; nothing later can be made durable until the heap is opened again";
            return Err(Error::new(ErrorKind::Poisoned, what));
        }
        Ok(())
    }

    /// Marks the end of a checkpoint, whether or not it succeeded.
    pub fn end(&mut self) {
        self.begun = false;
    }

    /// Stops the world, records what was modified since the last cut into `buffer`, and lets the world go on. The record is empty if nothing was.
    ///
    /// # Errors
    /// If the tracker fails. Nothing is lost: the next cut records it.
    pub fn cut(
        &mut self,
        allocator: &Allocator,
        threads: &Threads,
        roots: &Mutex<RootTable>,
        buffer: Vec<u8>,
    ) -> Result<(CutReport, RecordBuilder)> {
        let mut cut = Cut { builder: RecordBuilder::new(buffer), report: CutReport::default(), slots: self.slots };
        let still = threads.still();
        let start = Instant::now();
        vouch(allocator);
        cut.report.beside_ns = start.elapsed().as_nanos() as u64;
        let nobody_moved = self.pass(&mut cut, allocator, threads, roots, still)?;
        let start = Instant::now();
        // If nobody was in a section meanwhile, nobody wrote, and there is nothing to look for.
        let confirmed = nobody_moved || confirm(allocator);
        cut.report.beside_ns += start.elapsed().as_nanos() as u64;
        if !confirmed {
            // The cut is made again, and its findings follow those of the first: together they are one record, of the second instant.
            if let Err(e) = self.pass(&mut cut, allocator, threads, roots, None) {
                self.owe(&[cut.builder.finish()], allocator, roots);
                return Err(e);
            }
        }
        cut.report.record_bytes = cut.builder.len() as u64;
        Ok((cut.report, cut.builder))
    }

    /// Stops the world, adds what was modified to `cut`, and lets the world go on. Whether nobody was in a section since `still`.
    fn pass(
        &mut self,
        cut: &mut Cut,
        allocator: &Allocator,
        threads: &Threads,
        roots: &Mutex<RootTable>,
        still: Option<u64>,
    ) -> Result<bool> {
        let start = Instant::now();
        let mut stopped = threads.stop();
        let drained = Instant::now();
        if stopped.has_panicked() {
            let what = "a section ended by a panic, and may have left half a change behind";
            return Err(Error::new(ErrorKind::SectionPanicked, what));
        }
        let nobody_moved = stopped.nobody_moved_since(still);
        settle_caches(&mut stopped, allocator);
        let seats = allocator.seats();
        scan(allocator, &seats)?;
        let scanned = Instant::now();
        let stopped = (!canary(Canary::CopiedAfterReopening)).then_some(stopped);

        for (seat, index) in seats.iter().zip(0..).skip(self.recorded_zones) {
            cut.builder.zone(crate::base::ZoneIndex(index), seat.number, seat.kind);
        }
        self.recorded_zones = seats.len();
        if let Some(entries) = lock(roots).take_changed() {
            cut.builder.roots(&entries);
        }
        for seat in &seats {
            match seat.kind {
                ZoneKind::Slots(layout) => {
                    let class = Class::with_layout(layout).expect("a seat's layout is that of a class");
                    allocator
                        .with_slots(class, |zones| cut.record_slots(&mut zones[seat.position], allocator.addressing()));
                }
                ZoneKind::Runs => allocator.with_runs(|zones| cut.record_runs(&mut zones[seat.position])),
            }
        }
        self.slots = cut.slots;
        self.live = cut.slots;
        allocator.with_runs(|zones| {
            for (runs, pages) in zones.iter().map(RunZone::live) {
                self.live.add(runs, pages * PAGE as u64);
            }
        });
        drop(stopped);

        cut.report.passes += 1;
        cut.report.drain_ns += (drained - start).as_nanos() as u64;
        cut.report.scan_ns += (scanned - drained).as_nanos() as u64;
        cut.report.copy_ns += scanned.elapsed().as_nanos() as u64;
        Ok(nobody_moved)
    }

    /// Puts back what `records`, oldest first, held: they were lost, and the next cut must record it again (C2).
    ///
    /// # Panics
    /// If a record is not one that a cut of this heap made.
    pub fn owe(&mut self, records: &[Record], allocator: &Allocator, roots: &Mutex<RootTable>) {
        self.owes |= !records.is_empty();
        let seats = allocator.seats();
        // Newest first, because the oldest knows the durable state that run changes are relative to.
        for record in records.iter().rev() {
            // Backwards within a record as well: it has frees before allocations, and of two at one place the free knows the durable state.
            let items = record.items().collect::<Result<Vec<_>>>().expect("a record that a cut made");
            for item in items.into_iter().rev() {
                match item {
                    Item::Zone { index, .. } => self.recorded_zones = self.recorded_zones.min(index.index()),
                    Item::Roots(_) => lock(roots).owe(),
                    Item::Frame { zone, layout, frame, allocated, dirty, .. } => {
                        let class = Class::with_layout(layout).expect("a record of this heap");
                        allocator.with_slots(class, |zones| {
                            let ledger = &mut zones[seats[zone.index()].position].ledger;
                            ledger.mark_all_dirty(frame, &dirty);
                            if allocated.is_some() {
                                ledger.owed.insert(frame);
                            }
                        });
                    }
                    item => allocator.with_runs(|zones| owe_run(zones, &seats, &item)),
                }
            }
        }
    }
}

fn owe_run(zones: &mut [RunZone], seats: &[Seat], item: &Item<'_>) {
    let at = |zone: crate::base::ZoneIndex| -> usize { seats[zone.index()].position };
    match *item {
        Item::RunAllocated { zone, first, .. } => zones[at(zone)].owe_allocated(first),
        Item::RunFreed { zone, first, pages } => zones[at(zone)].owe_freed(first, pages),
        Item::Pages { zone, first, bytes } => {
            zones[at(zone)].owe_pages(first.0..first.0 + (bytes.len() / PAGE) as u32);
        }
        Item::ZeroPages { zone, first, pages } => zones[at(zone)].owe_pages(first.0..first.0 + pages),
        Item::Zone { .. } | Item::Roots(_) | Item::Frame { .. } => unreachable!("handled by the caller"),
    }
}

/// Brings the ledgers up to date with what lies in the threads' caches.
fn settle_caches(stopped: &mut Stopped<'_>, allocator: &Allocator) {
    let note = |zones: &mut Vec<SlotZone>, addr: u64, cached: bool| {
        let number = addr >> ZONE_SHIFT;
        let zone = zones.iter_mut().find(|zone| u64::from(zone.mapping.number().0) == number);
        let zone = zone.expect("a cached slot lies in a zone of its class");
        let spot = locate(zone.layout(), addr);
        zone.ledger.set_cached(spot.frame, spot.slot, cached);
    };
    let classes = || (0..CLASSES).map(Class::from_index);
    let forget = |cache: &mut Cache| {
        for class in classes() {
            let mut left = cache.bin(class).take_at_cut().peekable();
            if left.peek().is_some() {
                allocator.with_slots(class, |zones| left.for_each(|addr| note(zones, addr, false)));
            }
        }
    };
    if !Mistake::CutSettlesInOnePass.is_made() {
        stopped.visit_caches(forget);
    }
    stopped.visit_and_retire_caches(|cache, abandoned| {
        if Mistake::CutSettlesInOnePass.is_made() {
            forget(cache);
        }
        if abandoned {
            allocator.give_back_all(cache);
            // Bins that were unused until just now still remember what lay there at the last cut. It is in the zones now, and in no other cache yet.
            forget(cache);
        }
        for class in classes() {
            let slots = cache.bin(class).note_cut();
            if !slots.is_empty() {
                allocator.with_slots(class, |zones| slots.iter().for_each(|addr| note(zones, *addr, true)));
            }
        }
    });
}

/// Scans the cold lane-blocks of large zones while the program runs, so that the pause need not. A lane at a time, because allocation waits meanwhile.
fn vouch(allocator: &Allocator) {
    each_slot_zone(allocator, |zone, slot| zone.vouch(allocator.tracker(), slot));
}

/// Scans those that were clean again. True if they still are: then nobody wrote to them before the cut.
fn confirm(allocator: &Allocator) -> bool {
    let mut clean = true;
    each_slot_zone(allocator, |zone, slot| match zone.confirm(allocator.tracker(), slot) {
        Some(confirmed) => {
            clean &= confirmed;
            true
        }
        None => {
            zone.ladder.vouch_for_nothing();
            false
        }
    });
    clean
}

/// Calls `visit` with each zone of slots, locked, and slot after slot until it is false.
fn each_slot_zone(allocator: &Allocator, mut visit: impl FnMut(&mut SlotZone, SlotIndex) -> bool) {
    for seat in allocator.seats() {
        if let ZoneKind::Slots(layout) = seat.kind {
            let class = Class::with_layout(layout).expect("a seat's layout is that of a class");
            for slot in (0..).map(SlotIndex) {
                if !allocator.with_slots(class, |zones| visit(&mut zones[seat.position], slot)) {
                    break;
                }
            }
        }
    }
}

/// Harvests every zone into its own bookkeeping.
fn scan(allocator: &Allocator, seats: &[Seat]) -> Result<()> {
    for seat in seats {
        match seat.kind {
            ZoneKind::Slots(layout) => {
                let class = Class::with_layout(layout).expect("a seat's layout is that of a class");
                allocator.with_slots(class, |zones| {
                    let zone = &mut zones[seat.position];
                    zone.harvest(allocator.tracker()).map(|()| zone.climb(allocator.tracker()))
                })?;
            }
            ZoneKind::Runs => allocator.with_runs(|zones| zones[seat.position].harvest(allocator.tracker()))?,
        }
    }
    Ok(())
}

/// Frames whose slots are on their way to the cache while the frames before them are copied.
const PREFETCH_FRAMES: usize = 16;

fn settle(zone: &mut SlotZone, frame: FrameIndex, suspects: &SlotMask) -> FrameDelta {
    let taken = SlotMask::from_words(zone.taken_words(frame));
    let words = zone.layout().mask_words();
    zone.ledger.settle(frame, &taken.words()[..words], suspects)
}

fn prefetch(zone: &SlotZone, frame: FrameIndex, slots: &SlotMask) {
    let base = page_address(zone.mapping.number(), frame);
    for slot in slots.iter() {
        sys::prefetch(sys::ptr(base + zone.layout().byte_of(slot) as u64));
    }
}

/// A record in the making.
struct Cut {
    builder: RecordBuilder,
    report: CutReport,
    slots: Live,
}

impl Cut {
    fn record_slots(&mut self, zone: &mut SlotZone, how: Addressing) {
        // Only in the first pass: what a suspect is compared with is older than what the first pass has recorded.
        let compared = self.report.passes == 0;
        let (mut block, mut suspects) = (u32::MAX, SlotMask::EMPTY);
        for frames in zone.ledger.frames_to_settle().chunks(PREFETCH_FRAMES) {
            let mut deltas = [const { None }; PREFETCH_FRAMES];
            for (frame, delta) in frames.iter().zip(&mut deltas) {
                if compared && frame.0 / BLOCK_FRAMES != block {
                    block = frame.0 / BLOCK_FRAMES;
                    suspects = zone.ladder.suspects(block);
                }
                let settled = settle(zone, *frame, &suspects);
                prefetch(zone, *frame, &settled.dirty.or(&settled.suspects));
                *delta = Some(settled);
            }
            for (frame, delta) in frames.iter().zip(deltas.into_iter().flatten()) {
                self.record_frame(zone, how, *frame, &delta);
            }
        }
        zone.ledger.close_epoch();
        zone.ladder.clear_suspects();
    }

    fn record_frame(&mut self, zone: &SlotZone, how: Addressing, frame: FrameIndex, delta: &FrameDelta) {
        let layout = zone.layout();
        let slots = u64::from(delta.dirty.count() + delta.suspects.count());
        self.report.objects_modified += slots;
        self.report.suspects += u64::from(delta.suspects.count());
        self.report.bytes_modified += slots * layout.slot_bytes() as u64;
        self.report.page_bytes += if slots > 0 { PAGE as u64 } else { 0 };
        self.slots.objects = self.slots.objects.strict_add_signed(delta.live_change);
        self.slots.bytes = self.slots.bytes.strict_add_signed(delta.live_change * layout.slot_bytes() as i64);
        let bytes = sys::ptr(page_address(zone.mapping.number(), frame));
        let allocated = delta.allocated.as_ref();
        // SAFETY: the frame lies below the zone's high-water mark, where the dense lane is mapped readable. The world is stopped:
        // objects are written only inside sections. Dirty slots are allocated, and so within the layout.
        unsafe {
            if how == Addressing::Dense && slots > 0 {
                self.builder.whole_frame(zone.index, layout, frame, allocated, bytes);
            } else if allocated.is_some() || !delta.dirty.is_empty() {
                self.builder.frame(zone.index, layout, frame, allocated, &delta.dirty, bytes);
            }
            if !delta.suspects.is_empty() {
                self.builder.suspects(zone.index, layout, frame, &delta.suspects, bytes);
            }
        }
    }

    fn record_runs(&mut self, zone: &mut RunZone) {
        let written = zone.take_written();
        let (changes, fresh) = zone.settle();
        for change in changes {
            match change {
                RunChange::Freed(first, pages) => self.builder.run_freed(zone.index, first, pages),
                RunChange::Allocated(first, pages) => self.builder.run_allocated(zone.index, first, pages),
            }
        }
        for pages in written.into_iter().chain(fresh) {
            self.record_pages(zone, pages);
        }
    }

    /// Records `pages`: those that have no memory behind them as zeros.
    fn record_pages(&mut self, zone: &RunZone, pages: Range<u32>) {
        let bytes = |page: u32| u64::from(page) * PAGE as u64;
        let mut at = pages.start;
        while at < pages.end {
            let rest = bytes(at)..bytes(pages.end);
            // If the system does not tell, all of it is data: holes read as zeros.
            let data = zone.mapping.next_data(rest.clone()).unwrap_or(Some(rest));
            let data = data
                .map_or(pages.end..pages.end, |d| (d.start / PAGE as u64) as u32..d.end.div_ceil(PAGE as u64) as u32);
            if data.start > at {
                self.builder.zero_pages(zone.index, FrameIndex(at), data.start - at);
            }
            if !data.is_empty() {
                let from = sys::ptr(page_address(zone.mapping.number(), FrameIndex(data.start)));
                // SAFETY: the pages lie below the zone's high-water mark, mapped readable; the world is stopped.
                unsafe { self.builder.pages(zone.index, FrameIndex(data.start), data.len() as u32, from) };
                let len = u64::from(data.end - data.start);
                self.report.objects_modified += len;
                self.report.bytes_modified += len * PAGE as u64;
                self.report.page_bytes += len * PAGE as u64;
            }
            at = data.end;
        }
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
