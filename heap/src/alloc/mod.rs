//! The allocator: slots for objects up to half a page, page runs above. It decides which address an object gets; contents are none of its business.
//!
//! ```text
//!  alloc(layout)                      free(addr)
//!     | Class::of                        | owner of the zone
//!     v                                  v
//!  Cache::bin.pop  <--- thread --->  Cache::bin.push        no lock, no atomic
//!     | empty                            | full
//!     v                                  v
//!  SlotZone::take_free/take_fresh    SlotZone::give_back    one lock a size class
//!     | zone full
//!     v
//!  arena::claim_zone
//! ```
//!
//! Allocation state is persistent, free lists are not: a record holds the bitmaps of frames whose state changed, and recovery
//! derives everything else from them.

mod cache;
mod census;
mod classes;
mod ledger;
mod opening;
mod runs;
mod slots;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use cache::{BATCH, Cache};
pub use classes::{CLASSES, Class, SLOT_BYTES_MAX, usable_like};
pub use ledger::FrameDelta;
pub use opening::{Opening, opening_at};
pub use runs::{RunChange, RunZone};
pub use slots::{SlotSetup, SlotZone};

use crate::arena::{Writes, claim_zone, map_exactly};
#[cfg(any(miri, strewn_twin))]
use crate::arena::{locate, slot_address};
use crate::base::sync::{AtomicU8, Mutex, Ordering, lock};
use crate::base::{
    END_ZONE, Error, ErrorKind, PAGE, Result, SlotLayout, ZONE_PAGES, ZONE_SHIFT, ZoneIndex, ZoneKind, ZoneNumber,
};
use crate::durable::{Addressing, Catalog};
use crate::ladder::{LadderStats, Mapping, PolicyKind};
use crate::sys::{WorkingMemory, ZoneMapping};
use crate::track::WriteTracker;
use std::alloc::Layout;

const NOT_OURS: u8 = u8::MAX;
const RUNS: u8 = CLASSES as u8;

/// Who manages a zone of the heap's zone table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its place in the address space.
    pub number: ZoneNumber,
    /// What it holds.
    pub kind: ZoneKind,
    /// Its position among the zones of its class, or of runs.
    pub position: usize,
}

/// A zone whose contents are not there yet.
enum RecoveredZone {
    Slots(Class, Box<SlotZone>),
    Runs(ZoneMapping),
}

impl RecoveredZone {
    fn mapping(&self) -> &ZoneMapping {
        match self {
            RecoveredZone::Slots(_, zone) => &zone.mapping,
            RecoveredZone::Runs(mapping) => mapping,
        }
    }
}

/// The allocator of one heap.
///
/// Lock order: a class (or the runs), then the zone table.
pub struct Allocator {
    // First, so that it stops tracking before the zones are unmapped.
    tracker: Box<dyn WriteTracker>,
    slots: [Mutex<Vec<SlotZone>>; CLASSES],
    runs: Mutex<Vec<RunZone>>,
    table: Mutex<Vec<Seat>>,
    /// By zone number: the class of its slots, `RUNS`, or `NOT_OURS`.
    owners: [AtomicU8; END_ZONE as usize],
    memory: WorkingMemory,
    heap_id: [u8; 16],
    opening: Opening,
    how: Addressing,
    mapping: Mapping,
    policy: PolicyKind,
    writes: Writes,
}

impl Allocator {
    /// An allocator without a zone.
    ///
    /// # Errors
    /// If there is no memory to be had.
    pub fn new(
        heap_id: [u8; 16],
        how: Addressing,
        tracker: Box<dyn WriteTracker>,
        (mapping, policy): (Mapping, PolicyKind),
    ) -> Result<Self> {
        Ok(Self {
            tracker,
            slots: std::array::from_fn(|_| Mutex::new(Vec::new())),
            runs: Mutex::new(Vec::new()),
            table: Mutex::new(Vec::new()),
            owners: std::array::from_fn(|_| AtomicU8::new(NOT_OURS)),
            memory: WorkingMemory::new()?,
            heap_id,
            opening: Opening::new(),
            how,
            mapping,
            policy,
            writes: Writes::default(),
        })
    }

    /// The same, with zones in which the typed API catches writes as `writes` says, where its types do not say.
    pub fn catching(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    /// Maps the zones of `catalog` where they were, tells `load` where each lies so that it can fill them, and arms them.
    ///
    /// # Errors
    /// If something else is mapped there, if the heap has slots of a size that this build does not know, or what `load` returns.
    pub fn recover(&self, catalog: &Catalog, load: impl FnOnce(&[&ZoneMapping]) -> Result<()>) -> Result<()> {
        let mut recovered = Vec::new();
        for (zone, index) in catalog.zones.iter().zip((0..).map(ZoneIndex)) {
            let mapping = map_exactly(&self.memory, zone.number, index, zone.kind, self.how)?;
            recovered.push(match zone.kind {
                ZoneKind::Slots(layout) => {
                    let class = known_class(zone.number, layout)?;
                    RecoveredZone::Slots(class, Box::new(SlotZone::recover(index, mapping, self.setup(class), zone)))
                }
                ZoneKind::Runs => RecoveredZone::Runs(mapping),
            });
        }
        load(&recovered.iter().map(RecoveredZone::mapping).collect::<Vec<_>>())?;
        for ((zone, index), recovered) in catalog.zones.iter().zip((0..).map(ZoneIndex)).zip(recovered) {
            match recovered {
                RecoveredZone::Slots(class, mut slots) => {
                    slots.track_recovered(&*self.tracker)?;
                    let mut zones = lock(&self.slots[class.index()]);
                    zones.push(*slots);
                    self.seat(zone.number, zone.kind, zones.len() - 1, class.index() as u8);
                }
                RecoveredZone::Runs(mapping) => {
                    let mut zones = lock(&self.runs);
                    zones.push(RunZone::recover(index, mapping, zone, &*self.tracker)?);
                    self.seat(zone.number, zone.kind, zones.len() - 1, RUNS);
                }
            }
        }
        Ok(())
    }

    /// How a zone of `class` is set up in this heap.
    fn setup(&self, class: Class) -> SlotSetup {
        let layout = class.layout();
        let (tracker, tracks_huge_pages) = (self.tracker.kind(), self.tracker.tracks_huge_pages());
        let Self { how, mapping, policy, writes, .. } = *self;
        SlotSetup { layout, how, mapping, tracks_huge_pages, tracker, policy, writes }
    }

    /// Allocates memory for `layout`. Its bytes are arbitrary.
    ///
    /// # Errors
    /// `HeapFull` if the address space of the heap has no room, `OutOfMemory` and the like if the operating system refuses.
    #[inline]
    pub fn alloc(&self, cache: &mut Cache, layout: Layout) -> Result<u64> {
        match Class::of(layout) {
            Some(class) => match cache.bin(class).pop() {
                Some(addr) => Ok(addr),
                None => self.refill(cache, class),
            },
            None => self.alloc_run(layout),
        }
    }

    /// Frees the object at `addr`.
    ///
    /// # Panics
    /// If `addr` is not in this heap, or (where it is noticed) was freed before.
    #[inline]
    pub fn free(&self, cache: &mut Cache, addr: u64) {
        match self.owner(addr) {
            Some(RUNS) => self.free_run(addr),
            Some(class) => {
                let class = Class::from_index(usize::from(class));
                if cache.bin(class).push(addr) {
                    self.give_back_batch(cache, class);
                }
            }
            None => panic!("{addr:#x} is not in this heap"),
        }
    }

    /// Whether `addr` lies in a zone of this heap.
    #[inline]
    pub fn owns(&self, addr: u64) -> bool {
        self.owner(addr).is_some()
    }

    /// The heap address that `object` points to.
    #[cfg(not(any(miri, strewn_twin)))]
    #[inline]
    pub fn address_of(&self, object: *mut u8) -> u64 {
        object.expose_provenance() as u64
    }

    /// The heap address that `object` points to. In the twin, memory lies anywhere, and all lanes of a zone are one.
    #[cfg(any(miri, strewn_twin))]
    pub fn address_of(&self, object: *mut u8) -> u64 {
        for seat in self.seats() {
            let base = crate::arena::page_address(seat.number, crate::base::FrameIndex(0));
            let offset = (object.addr() as u64).wrapping_sub(crate::sys::ptr(base).addr() as u64);
            if offset < u64::from(seat.kind.capacity()) * PAGE as u64 {
                return match seat.kind {
                    ZoneKind::Slots(layout) => {
                        let spot = locate(layout, base + offset);
                        let within = offset as usize % PAGE - layout.byte_of(spot.slot);
                        slot_address(seat.number, layout, self.how, spot) + within as u64
                    }
                    ZoneKind::Runs => base + offset,
                };
            }
        }
        object.addr() as u64
    }

    /// The tracker that watches this heap.
    pub fn tracker(&self) -> &dyn WriteTracker {
        &*self.tracker
    }

    /// How objects are addressed.
    pub fn addressing(&self) -> Addressing {
        self.how
    }

    /// The zone table.
    pub fn seats(&self) -> Vec<Seat> {
        lock(&self.table).clone()
    }

    /// Calls `visit` with the zones of slots that have the layout of `seat`'s, locked; its own is at `seat.position`.
    pub fn with_slots<R>(&self, class: Class, visit: impl FnOnce(&mut Vec<SlotZone>) -> R) -> R {
        visit(&mut lock(&self.slots[class.index()]))
    }

    /// Calls `visit` with the zones of page runs, locked.
    pub fn with_runs<R>(&self, visit: impl FnOnce(&mut Vec<RunZone>) -> R) -> R {
        visit(&mut lock(&self.runs))
    }

    /// Gives everything in `cache` back, for a thread that ended.
    pub fn give_back_all(&self, cache: &mut Cache) {
        for class in (0..CLASSES).map(Class::from_index) {
            while cache.bin(class).len() > 0 {
                self.give_back_batch(cache, class);
            }
        }
    }

    /// Returns empty frames and freed runs to the operating system.
    pub fn punch_empty(&self, frames_min: u32) {
        for zones in &self.slots {
            lock(zones).iter_mut().for_each(|zone| zone.punch_empty(&*self.tracker, frames_min));
        }
        lock(&self.runs).iter_mut().for_each(RunZone::punch_empty);
    }

    /// Makes huge pages of blocks that were filled page by page.
    pub fn collapse_filled(&self) {
        for zones in &self.slots {
            lock(zones).iter_mut().for_each(SlotZone::collapse_filled);
        }
    }

    /// What the ladders of all zones count.
    pub fn ladder_stats(&self) -> LadderStats {
        let mut sum = LadderStats::default();
        for zones in &self.slots {
            lock(zones).iter().for_each(|zone| sum.add(&zone.ladder_stats()));
        }
        sum
    }

    /// Memory that the bookkeeping takes, and memory that objects take, in bytes.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        let mut bookkeeping = 0;
        let mut backed = 0;
        for zones in &self.slots {
            for zone in lock(zones).iter() {
                bookkeeping += zone.memory_bytes() as u64;
                backed = zone.mapping.backed_bytes()?;
            }
        }
        if let Some(zone) = lock(&self.runs).first() {
            backed = zone.mapping.backed_bytes()?;
        }
        Ok((bookkeeping, backed))
    }

    /// Checks the invariants of every zone.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        for zones in &self.slots {
            lock(zones).iter().for_each(SlotZone::check);
        }
        lock(&self.runs).iter().for_each(RunZone::check);
    }

    #[inline]
    fn owner(&self, addr: u64) -> Option<u8> {
        // Relaxed: whoever has an address got it, directly or not, from the thread that claimed the zone, which ordered the store before.
        let owner = self.owners.get((addr >> ZONE_SHIFT) as usize)?.load(Ordering::Relaxed);
        (owner != NOT_OURS).then_some(owner)
    }

    #[cold]
    fn refill(&self, cache: &mut Cache, class: Class) -> Result<u64> {
        let mut zones = lock(&self.slots[class.index()]);
        let bin = cache.bin(class);
        for zone in zones.iter_mut() {
            if zone.take_free(BATCH, bin.refill()) > 0 {
                return Ok(bin.pop().expect("just refilled"));
            }
        }
        // Not only the last one: earlier ones may have vacant blocks, whose slots are fresh again.
        for zone in zones.iter_mut() {
            if zone.take_fresh(&*self.tracker, bin.refill())? > 0 {
                return Ok(bin.pop().expect("just refilled"));
            }
        }
        let kind = ZoneKind::Slots(class.layout());
        self.add_zone(kind, class.index() as u8, zones.len(), |index, mapping| {
            zones.push(SlotZone::new(index, mapping, self.setup(class)));
        })?;
        let zone = zones.last_mut().expect("just added");
        zone.take_fresh(&*self.tracker, bin.refill())?;
        Ok(bin.pop().expect("an empty zone has fresh slots"))
    }

    #[cold]
    fn give_back_batch(&self, cache: &mut Cache, class: Class) {
        let mut zones = lock(&self.slots[class.index()]);
        for addr in cache.bin(class).drain_batch() {
            let number = ZoneNumber((addr >> ZONE_SHIFT) as u16);
            let zone = zones.iter_mut().find(|zone| zone.mapping.number() == number);
            zone.expect("the zone's owner is this class").give_back(addr);
        }
    }

    fn alloc_run(&self, layout: Layout) -> Result<u64> {
        let too_large =
            || Error::new(ErrorKind::HeapFull, format!("{layout:?} is larger than a zone of {ZONE_PAGES} pages"));
        let pages =
            u32::try_from(layout.size().div_ceil(PAGE)).ok().filter(|p| *p <= ZONE_PAGES).ok_or_else(too_large)?;
        let align =
            u32::try_from(layout.align().div_ceil(PAGE)).ok().filter(|a| *a <= ZONE_PAGES).ok_or_else(too_large)?;
        let pages = pages.max(1);
        let mut zones = lock(&self.runs);
        for zone in zones.iter_mut() {
            if let Some(addr) = zone.allocate(pages, align, &*self.tracker)? {
                return Ok(addr);
            }
        }
        self.add_zone(ZoneKind::Runs, RUNS, zones.len(), |index, mapping| zones.push(RunZone::new(index, mapping)))?;
        let zone = zones.last_mut().expect("just added");
        zone.allocate(pages, align, &*self.tracker)?.ok_or_else(too_large)
    }

    #[cold]
    fn free_run(&self, addr: u64) {
        let number = ZoneNumber((addr >> ZONE_SHIFT) as u16);
        let mut zones = lock(&self.runs);
        let zone = zones.iter_mut().find(|zone| zone.mapping.number() == number);
        zone.expect("the zone's owner is the runs").free(addr);
    }

    /// Claims a zone, hands it to `add`, and takes it into the table.
    fn add_zone(
        &self,
        kind: ZoneKind,
        owner: u8,
        position: usize,
        add: impl FnOnce(ZoneIndex, ZoneMapping),
    ) -> Result<()> {
        let mut table = lock(&self.table);
        let index = ZoneIndex(table.len() as u16);
        let mapping = claim_zone(&self.memory, &self.heap_id, index, kind, self.how)?;
        let number = mapping.number();
        add(index, mapping);
        table.push(Seat { number, kind, position });
        self.opening.claim(number);
        self.owners[number.index()].store(owner, Ordering::Relaxed);
        Ok(())
    }

    fn seat(&self, number: ZoneNumber, kind: ZoneKind, position: usize, owner: u8) {
        lock(&self.table).push(Seat { number, kind, position });
        self.opening.claim(number);
        self.owners[number.index()].store(owner, Ordering::Relaxed);
    }
}

/// The class of a recovered zone.
///
/// # Errors
/// `UnsupportedVersion` if this build has none for its slots.
pub fn known_class(number: ZoneNumber, layout: SlotLayout) -> Result<Class> {
    Class::with_layout(layout).ok_or_else(|| {
        let bytes = layout.slot_bytes();
        let what = format!("zone {number} holds slots of {bytes} bytes, a size class that this build does not have");
        Error::new(ErrorKind::UnsupportedVersion, what)
    })
}
