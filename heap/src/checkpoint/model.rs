//! A random model of the cut: whatever threads do, wherever a tracker fails and whichever records are lost, the records that do reach the disk make an
//! image that equals memory (C1).
//!
//! It knows no ledger and no cache: only which objects are live, what the log would make of the records, and the bytes in memory. Every byte of a live object
//! counts, up to the end of its slot or last page, whether or not it was ever written.

mod operations;
#[cfg(not(any(miri, strewn_twin)))]
mod refused;
mod regressions;

use self::operations::{Fate, Op, large_op, op};
use super::{CutState, RootTable, Threads};
use crate::alloc::{Allocator, Cache};
use crate::arena::{Writes, dense_address, write_address};
use crate::base::sync::{Mutex, StopOnDrop};
use crate::base::{BLOCK_FRAMES, Epoch, FrameIndex, PAGE, PAGE_SHIFT, ZONE_BLOCKS, ZONE_SHIFT, ZoneIndex, ZoneKind};
use crate::durable::{Addressing, Catalog, Item, Record};
use crate::ladder::{Mapping, PolicyKind};
use crate::sys::{self, huge_lanes};
use crate::track::fixtures::{Failing, Fuses, NEVER};
use crate::track::{self, TrackerKind};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::alloc::Layout;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

const CASES: u32 = 80;
const LARGE_CASES: u32 = 10;
const OPS_MAX: usize = 120;
/// How many records a cut may leave with the writer before it is told that they are lost.
const RECORDS_IN_FLIGHT: usize = 2;
/// As many objects of this size fill a block.
const BLOCK_OBJECTS: u16 = (PAGE / BLOCK_OBJECT_BYTES) as u16 * BLOCK_FRAMES as u16;
const BLOCK_OBJECT_BYTES: usize = 256;
/// Objects of threads that end.
const THREAD_OBJECT_BYTES: usize = 48;

type Outcome = Result<(), TestCaseError>;

/// What a disk holds after some records, without the disk.
#[derive(Default)]
struct Image {
    catalog: Catalog,
    /// Frames and pages that are not zeros by definition.
    pages: BTreeMap<(ZoneIndex, FrameIndex), Vec<u8>>,
}

impl Image {
    /// Applies `record` without those of its suspects that are here already.
    fn apply(&mut self, record: &mut Record) {
        record.sift(Vec::new(), |zone, layout, frame, slots, bytes| {
            let before = self.page(zone, frame);
            let place = |slot| layout.byte_of(slot)..layout.byte_of(slot) + layout.slot_bytes();
            slots.iter().filter(|slot| before[place(*slot)] != bytes[place(*slot)]).collect()
        });
        for item in record.items() {
            let item = item.unwrap();
            self.catalog.apply(&item).unwrap_or_else(|why| panic!("{why}: {item:?}"));
            match item {
                Item::RunAllocated { zone, first, pages }
                | Item::RunFreed { zone, first, pages }
                | Item::ZeroPages { zone, first, pages } => self.clear(zone, first, pages),
                Item::Pages { zone, first, bytes } => {
                    let pages = (first.0..).map(FrameIndex).zip(bytes.chunks(PAGE));
                    self.pages.extend(pages.map(|(page, bytes)| ((zone, page), bytes.to_vec())));
                }
                Item::Frame { zone, frame, allocated: Some(mask), .. } if mask.is_empty() => self.clear(zone, frame, 1),
                Item::Frame { zone, frame, whole: true, bytes, .. } => {
                    self.pages.insert((zone, frame), bytes.to_vec());
                }
                Item::Frame { zone, layout, frame, dirty, bytes, .. } => {
                    let page = self.pages.entry((zone, frame)).or_insert_with(|| vec![0; PAGE]);
                    for (slot, bytes) in dirty.iter().zip(bytes.chunks(layout.slot_bytes())) {
                        page[layout.byte_of(slot)..][..bytes.len()].copy_from_slice(bytes);
                    }
                }
                Item::Zone { .. } | Item::Roots(_) => {}
            }
        }
    }

    fn clear(&mut self, zone: ZoneIndex, first: FrameIndex, pages: u32) {
        for page in first.0..first.0 + pages {
            self.pages.remove(&(zone, FrameIndex(page)));
        }
    }

    fn page(&self, zone: ZoneIndex, page: FrameIndex) -> &[u8] {
        self.pages.get(&(zone, page)).map_or(&[0; PAGE], Vec::as_slice)
    }

    fn objects(&self) -> u64 {
        let slots = |words: &[u64]| words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        self.catalog.zones.iter().map(|zone| slots(&zone.allocated) + zone.runs.len() as u64).sum()
    }
}

/// The parts of a heap that its threads share.
struct Shared {
    allocator: Allocator,
    threads: Threads,
    roots: Mutex<RootTable>,
}

impl Shared {
    /// Calls `act` inside a section of this thread, with its cache.
    fn enter<R>(&self, act: impl FnOnce(&Allocator, &mut Cache) -> R) -> R {
        let member = self.threads.enter();
        // SAFETY: this thread owns the member and is inside a section; no `act` comes back here, so the reference is the only one.
        let result = act(&self.allocator, unsafe { member.cache() });
        self.threads.leave(member);
        result
    }

    fn alloc(&self, count: u16, bytes: usize, fill: Option<u8>, writes: Writes) -> Vec<u64> {
        let layout = Layout::from_size_align(bytes, 8).unwrap();
        let one = |allocator: &Allocator, cache: &mut Cache| {
            let addr = allocator.alloc(cache, layout).unwrap();
            if let Some(value) = fill {
                // SAFETY: `bytes` bytes were just allocated there, and nobody else knows the address.
                unsafe { sys::ptr(write_address(addr, bytes, writes)).write_bytes(value, bytes) };
            }
            addr
        };
        self.enter(|allocator, cache| (0..count).map(|_| one(allocator, cache)).collect())
    }

    /// Writes to a live object that nobody refers to.
    fn write(&self, addr: u64, value: u8, writes: Writes) {
        // SAFETY: the byte is one of a live object, which nobody refers to.
        self.enter(|_, _| unsafe { sys::ptr(write_address(addr, 1, writes)).write(value) });
    }

    fn free(&self, objects: impl IntoIterator<Item = u64>) {
        self.enter(|allocator, cache| objects.into_iter().for_each(|addr| allocator.free(cache, addr)));
    }
}

struct World {
    shared: Arc<Shared>,
    fuses: Arc<Fuses>,
    cuts: CutState,
    live: BTreeSet<u64>,
    image: Image,
    /// Records that are lost and not owed yet.
    lost: Vec<Record>,
}

impl World {
    fn new(kind: TrackerKind, ladder: (Mapping, PolicyKind)) -> Self {
        let (how, seed) = match kind {
            TrackerKind::Async => (Addressing::Lanes, 31),
            TrackerKind::Signal => (Addressing::Lanes, 32),
            TrackerKind::Page => (Addressing::Dense, 33),
        };
        let fuses = Arc::<Fuses>::default();
        let tracker = Box::new(Failing { inner: track::open(kind).unwrap(), fuses: fuses.clone() });
        let allocator = Allocator::new([seed; 16], how, tracker, ladder).unwrap();
        Self {
            shared: Arc::new(Shared { allocator, threads: Threads::new(), roots: Mutex::new(RootTable::default()) }),
            fuses,
            cuts: CutState::recover(Epoch(0), &Catalog::default()),
            live: BTreeSet::new(),
            image: Image::default(),
            lost: Vec::new(),
        }
    }

    fn run(mut self, ops: Vec<Op>) -> Outcome {
        ops.into_iter().try_for_each(|op| self.step(op))?;
        self.cut(Fate::Durable)
    }

    fn step(&mut self, op: Op) -> Outcome {
        match op {
            Op::Alloc { count, bytes, fill, writes } => {
                let born = self.shared.alloc(count, bytes, fill, writes);
                return self.add(born);
            }
            Op::Free(object) => {
                let freed = self.pick(object).filter(|addr| self.live.remove(addr));
                self.shared.free(freed);
            }
            Op::FreeMany { first, count } => {
                let first = self.pick(first).unwrap_or(0);
                let freed: Vec<u64> = self.live.range(first..).take(usize::from(count)).copied().collect();
                freed.iter().for_each(|addr| assert!(self.live.remove(addr)));
                self.shared.free(freed);
            }
            Op::FreeAll => {
                self.shared.free(std::mem::take(&mut self.live));
                self.shared.enter(|allocator, cache| allocator.give_back_all(cache));
            }
            Op::Write { object, at, value, writes } => {
                if let Some(addr) = self.pick(object) {
                    let at = usize::from(at) % self.bytes_of(addr);
                    self.shared.write(addr + at as u64, value, writes);
                }
            }
            Op::WriteMany { first, count, at, value, writes } => {
                let first = self.pick(first).unwrap_or(0);
                for &addr in self.live.range(first..).take(usize::from(count)) {
                    let at = usize::from(at) % self.bytes_of(addr);
                    self.shared.write(addr + at as u64, value, writes);
                }
            }
            Op::Idle(cuts) => {
                // Comparing once will do.
                (0..cuts).try_for_each(|_| self.record(Fate::Durable))?;
                return self.cut(Fate::Durable);
            }
            Op::Punch => self.shared.allocator.punch_empty(1),
            Op::Cut(fate) => return self.cut(fate),
            Op::Thread { frees, allocs, cut } => return self.thread(frees, allocs, cut),
        }
        Ok(())
    }

    /// See [`Op::Thread`].
    fn thread(&mut self, frees: u8, allocs: u8, cut: Option<Fate>) -> Outcome {
        let freed: Vec<u64> = (0..frees).map_while(|_| self.live.pop_last()).collect();
        let shared = self.shared.clone();
        let (tell, born) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            shared.free(freed);
            tell.send(shared.alloc(allocs.into(), THREAD_OBJECT_BYTES, Some(allocs), Writes::default())).unwrap();
            // Until the other end is dropped, which a panic does as well.
            let _ = ended.recv();
        });
        let born = born.recv().expect("the thread allocates without a panic");
        let outcome = self.add(born).and_then(|()| cut.map_or(Ok(()), |fate| self.cut(fate)));
        drop(end);
        thread.join().expect("the thread frees what is live");
        outcome
    }

    /// Makes a cut, and compares if its record becomes durable.
    fn cut(&mut self, fate: Fate) -> Outcome {
        self.record(fate)?;
        if matches!(fate, Fate::Durable | Fate::Hampered(_)) { self.compare() } else { Ok(()) }
    }

    fn record(&mut self, fate: Fate) -> Outcome {
        let Shared { allocator, threads, roots } = &*self.shared;
        if !matches!(fate, Fate::Lost) || self.lost.len() == RECORDS_IN_FLIGHT {
            self.cuts.owe(&std::mem::take(&mut self.lost), allocator, roots);
        }
        let Fuses { harvest, track, arm, refine, .. } = &*self.fuses;
        match fate {
            Fate::Failed(harvests) => harvest.set(harvests),
            Fate::Hampered(calls) => [track, arm, refine].iter().for_each(|fuse| fuse.set(calls)),
            Fate::Durable | Fate::Lost => {}
        }
        let cut = self.cuts.cut(allocator, threads, roots, Vec::new());
        [harvest, track, arm, refine].iter().for_each(|fuse| fuse.set(NEVER));
        match cut {
            Ok((_, builder)) => {
                prop_assert_eq!(self.cuts.live().objects, self.live.len() as u64, "live objects");
                let mut record = builder.finish();
                match fate {
                    Fate::Durable | Fate::Hampered(_) => self.image.apply(&mut record),
                    Fate::Lost | Fate::Failed(_) => self.lost.push(record),
                }
            }
            Err(e) => prop_assert!(matches!(fate, Fate::Failed(_)), "the cut failed: {}", e),
        }
        allocator.punch_empty(1);
        allocator.collapse_filled();
        allocator.check();
        allocator.ladder_stats();
        Ok(())
    }

    /// C1.
    fn compare(&self) -> Outcome {
        prop_assert_eq!(self.image.objects(), self.live.len() as u64, "objects in the image");
        let seats = self.shared.allocator.seats();
        for &addr in &self.live {
            let zone = seats.iter().position(|seat| u64::from(seat.number.0) == addr >> ZONE_SHIFT).unwrap();
            let start = if seats[zone].kind == ZoneKind::Runs { addr } else { dense_address(addr) };
            let end = start + self.bytes_of(addr) as u64;
            // A slot lies within one page, and a run starts with one.
            for at in (start..end).step_by(PAGE) {
                let len = PAGE.min((end - at) as usize);
                let page = FrameIndex(((at & ((1 << ZONE_SHIFT) - 1)) >> PAGE_SHIFT) as u32);
                let image = &self.image.page(ZoneIndex(zone as u16), page)[at as usize % PAGE..][..len];
                // SAFETY: the bytes are those of a live object, mapped in the dense lane as well; no thread is inside a section to write them.
                let memory = unsafe { std::slice::from_raw_parts(sys::ptr(at), len) };
                let differ = image.iter().zip(memory).position(|(image, memory)| image != memory);
                let what =
                    differ.map(|i| format!("{addr:#x}: {} at {:#x}, not {}", image[i], at + i as u64, memory[i]));
                prop_assert!(what.is_none(), "the image of {}", what.unwrap());
            }
        }
        Ok(())
    }

    fn add(&mut self, born: Vec<u64>) -> Outcome {
        for addr in born {
            prop_assert!(self.live.insert(addr), "{:#x} was allocated twice", addr);
        }
        Ok(())
    }

    fn pick(&self, object: u16) -> Option<u64> {
        let index = usize::from(object).checked_rem(self.live.len())?;
        self.live.iter().nth(index).copied()
    }

    fn bytes_of(&self, addr: u64) -> usize {
        self.shared.allocator.usable_bytes(addr).expect("a live object")
    }
}

/// Whether the kernel has what `kind` needs; says so aloud if not.
fn is_there(kind: TrackerKind) -> bool {
    let opened = track::open(kind);
    if let Err(e) = &opened {
        assert!(kind != TrackerKind::Signal, "the signal tracker works anywhere: {e}");
        println!("SKIP: {e}");
    }
    opened.is_ok()
}

/// Runs random operations on heaps with a tracker of `kind` and such a ladder: on few objects of many sizes, then on whole blocks.
fn check(kind: TrackerKind, mapping: Mapping, policy: PolicyKind) {
    if !is_there(kind) {
        return;
    }
    let run = |cases, ops: BoxedStrategy<Vec<Op>>| {
        let config =
            ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
        let checked = TestRunner::new(config).run(&ops, |ops| World::new(kind, (mapping, policy)).run(ops));
        checked.unwrap_or_else(|e| panic!("{kind} tracker, mapping {mapping}, policy {policy}: {e}"));
    };
    run(CASES, proptest::collection::vec(op(mapping), 1..OPS_MAX).boxed());
    // The twin's zones have one block.
    if ZONE_BLOCKS > 1 {
        run(LARGE_CASES, proptest::collection::vec(large_op(), 1..OPS_MAX / 2).boxed());
    }
}

/// One test for each: durable records make memory.
macro_rules! durable_records_make_memory {
    ($($name:ident: $kind:ident $mapping:ident $policy:ident,)*) => {$(
        #[test]
        fn $name() {
            check(TrackerKind::$kind, Mapping::$mapping, PolicyKind::$policy);
        }
    )*};
}

durable_records_make_memory!(
    with_the_async_tracker: Async Auto Adaptive,
    with_the_signal_tracker: Signal Auto Adaptive,
    with_the_page_tracker: Page Auto Adaptive,
    by_huge_pages_adaptive: Async Huge Adaptive,
    by_huge_pages_fine: Async Huge Fine,
    by_huge_pages_coarse: Async Huge Coarse,
    by_huge_pages_active_rnd: Async Huge ActiveRnd,
    by_huge_pages_active_cks: Async Huge ActiveCks,
    by_huge_pages_genetic: Async Huge Genetic,
    by_pages_active_rnd: Async Pages ActiveRnd,
    by_pages_active_cks: Signal Pages ActiveCks,
    by_pages_genetic: Async Pages Genetic,
);
