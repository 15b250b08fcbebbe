//! A random model of the cut: whatever threads do, wherever a tracker fails and whichever records are lost, the records that do reach the disk make an
//! image that equals memory (C1).
//!
//! It knows no ledger and no cache: only which objects are live, what the log would make of the records, and the bytes in memory. Every byte of a live object
//! counts, up to the end of its slot or last page, whether or not it was ever written.

#[cfg(not(any(miri, strewn_twin)))]
mod refused;

use super::{CutState, RootTable, Threads};
use crate::alloc::{Allocator, Cache};
use crate::arena::dense_address;
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

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The record reaches the image, and all that was owed with it.
    Durable,
    /// The record is lost, and owed some time later.
    Lost,
    /// The tracker fails after this many harvests. If it is not asked that often, the record is lost.
    Failed(u32),
    /// The record reaches the image, though the tracker, after so many calls of each kind, neither tracks nor arms what is to change its rung.
    Hampered(u32),
}

/// Objects are picked by a number, modulo how many live.
#[derive(Clone, Debug)]
enum Op {
    /// Allocates objects, and fills them or leaves them as they are.
    Alloc {
        count: u16,
        bytes: usize,
        fill: Option<u8>,
    },
    Free(u16),
    /// Frees objects in the order of their addresses, so that frames become empty.
    FreeMany {
        first: u16,
        count: u16,
    },
    /// Frees all objects, and gives back what lies in the thread's cache, so that whole blocks become empty.
    FreeAll,
    Write {
        object: u16,
        at: u16,
        value: u8,
    },
    /// Writes a byte to so many objects, from one on in the order of addresses: in one lane-block, mostly.
    WriteMany {
        first: u16,
        count: u16,
        value: u8,
    },
    /// Cuts in a row that find nothing new, so that lane-blocks cool.
    Idle(u8),
    /// Returns empty memory to the operating system, as a checkpoint may while others are in their sections.
    Punch,
    Cut(Fate),
    /// A thread frees objects of others and leaves new ones behind; then it ends, perhaps having seen a cut.
    Thread {
        frees: u8,
        allocs: u8,
        cut: Option<Fate>,
    },
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Durable),
        2 => Just(Fate::Lost),
        1 => (0u32..20).prop_map(Fate::Failed),
        1 => (0u32..3).prop_map(Fate::Hampered),
    ]
}

/// Operations for a heap that is mapped like this. By huge pages, there are so many small objects that lane-blocks are filled, and now and then a whole block.
fn op(mapping: Mapping) -> impl Strategy<Value = Op> {
    let fill = || any::<Option<u8>>();
    let (many, sizes, block) = match mapping {
        Mapping::Huge if huge_lanes().is_available() => (500u16..1500, &[16, 256][..], BLOCK_OBJECTS),
        _ => (100..250, &[16, 1360, 2048][..], 500),
    };
    // Half the time so many that thread caches overflow, and whole frames come and go.
    let count = prop_oneof![1u16..20, many];
    let bytes = prop_oneof![4 => proptest::sample::select(sizes), 1 => 1usize..2049];
    let slots = (count, bytes, fill());
    let slots = slots.prop_map(|(count, bytes, fill)| Op::Alloc { count, bytes, fill });
    let run = (2049usize..20000, fill()).prop_map(|(bytes, fill)| Op::Alloc { count: 1, bytes, fill });
    let write = any::<(u16, u16, u8)>().prop_map(|(object, at, value)| Op::Write { object, at, value });
    let thread = (0u8..200, 0u8..100, proptest::option::of(fate()));
    let block = fill().prop_map(move |fill| Op::Alloc { count: block, bytes: BLOCK_OBJECT_BYTES, fill });
    prop_oneof![
        40 => slots,
        20 => run,
        40 => any::<u16>().prop_map(Op::Free),
        20 => (any::<u16>(), 0u16..1000).prop_map(|(first, count)| Op::FreeMany { first, count }),
        50 => write,
        40 => (any::<u16>(), 0u16..2000, any::<u8>()).prop_map(|(first, count, value)| Op::WriteMany { first, count, value }),
        10 => (0u8..40).prop_map(Op::Idle),
        10 => Just(Op::Punch),
        50 => fate().prop_map(Op::Cut),
        10 => thread.prop_map(|(frees, allocs, cut)| Op::Thread { frees, allocs, cut }),
        2 => block,
        4 => Just(Op::FreeAll),
    ]
}

/// Operations on whole blocks: they fill, are written, become empty and are filled again.
fn large_op() -> impl Strategy<Value = Op> {
    let slots =
        (prop_oneof![1u16..100, 1000u16..9000], proptest::sample::select(&[256, 256, 128][..]), any::<Option<u8>>());
    let slots = slots.prop_map(|(count, bytes, fill)| Op::Alloc { count, bytes, fill });
    let write = any::<(u16, u16, u8)>().prop_map(|(object, at, value)| Op::Write { object, at, value });
    let dense = (any::<u16>(), 0u16..2000, any::<u8>());
    prop_oneof![
        5 => slots,
        1 => any::<u16>().prop_map(Op::Free),
        4 => (any::<u16>(), 0u16..20000).prop_map(|(first, count)| Op::FreeMany { first, count }),
        1 => Just(Op::FreeMany { first: 0, count: u16::MAX }),
        5 => write,
        4 => dense.prop_map(|(first, count, value)| Op::WriteMany { first, count, value }),
        1 => (0u8..30).prop_map(Op::Idle),
        1 => Just(Op::Punch),
        5 => fate().prop_map(Op::Cut),
    ]
}

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

    fn alloc(&self, count: u16, bytes: usize, fill: Option<u8>) -> Vec<u64> {
        let layout = Layout::from_size_align(bytes, 8).unwrap();
        let one = |allocator: &Allocator, cache: &mut Cache| {
            let addr = allocator.alloc(cache, layout).unwrap();
            if let Some(value) = fill {
                // SAFETY: `bytes` bytes were just allocated there, and nobody else knows the address.
                unsafe { sys::ptr(addr).write_bytes(value, bytes) };
            }
            addr
        };
        self.enter(|allocator, cache| (0..count).map(|_| one(allocator, cache)).collect())
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
            Op::Alloc { count, bytes, fill } => {
                let born = self.shared.alloc(count, bytes, fill);
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
            Op::Write { object, at, value } => {
                if let Some(addr) = self.pick(object) {
                    let at = usize::from(at) % self.bytes_of(addr);
                    // SAFETY: the byte is one of a live object, which nobody refers to.
                    self.shared.enter(|_, _| unsafe { sys::ptr(addr + at as u64).write(value) });
                }
            }
            Op::WriteMany { first, count, value } => {
                let first = self.pick(first).unwrap_or(0);
                for &addr in self.live.range(first..).take(usize::from(count)) {
                    let at = usize::from(value) % self.bytes_of(addr);
                    // SAFETY: as above.
                    self.shared.enter(|_, _| unsafe { sys::ptr(addr + at as u64).write(value) });
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
            tell.send(shared.alloc(allocs.into(), THREAD_OBJECT_BYTES, Some(allocs))).unwrap();
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

/// The tracker does not see it: nobody wrote the zeros.
#[test]
fn slots_punched_out_and_allocated_again_between_two_cuts_are_recorded() {
    let kinds = [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page];
    let there = kinds.into_iter().filter(|kind| is_there(*kind));
    for (kind, mapping) in there.flat_map(|kind| [(kind, Mapping::Pages), (kind, Mapping::Huge)]) {
        // Some frames of pages, and a whole block of what may be huge pages.
        for (count, bytes) in [(200, 2048), (BLOCK_OBJECTS, BLOCK_OBJECT_BYTES)] {
            let many = |fill| Op::Alloc { count, bytes, fill };
            for again in [None, Some(8)] {
                let ops = vec![many(Some(7)), Op::Cut(Fate::Durable), Op::FreeAll, Op::Punch, many(again)];
                let world = World::new(kind, (mapping, PolicyKind::Adaptive));
                world.run(ops).unwrap_or_else(|e| panic!("{kind} tracker, mapping {mapping}: {e}"));
            }
        }
    }
}

/// A cold lane-block whose bytes are kept must know those of its free slots as well: nobody writes to it when one is allocated as it is.
#[test]
fn a_slot_that_was_allocated_as_it_was_is_recorded_when_it_is_written_again() {
    let huge = |count, fill| Op::Alloc { count, bytes: 256, fill };
    if is_there(TrackerKind::Async) {
        let ops = vec![
            huge(1433, Some(151)),
            Op::FreeAll,
            Op::Cut(Fate::Lost),
            huge(1344, None),
            Op::Cut(Fate::Durable),
            Op::FreeMany { first: 0, count: 1344 },
            huge(1344, Some(0)),
            Op::Cut(Fate::Durable),
        ];
        World::new(TrackerKind::Async, (Mapping::Huge, PolicyKind::Coarse)).run(ops).unwrap();
    }
}

/// Cold lane-blocks are scanned while the program runs, before and after the world is stopped. Whatever is written meanwhile, a record is the heap at one
/// instant: here two objects of different lane-blocks are always written together.
#[test]
fn records_of_a_heap_that_is_written_all_the_while_are_of_one_instant() {
    if !is_there(TrackerKind::Async) {
        return;
    }
    for policy in [PolicyKind::Coarse, PolicyKind::Adaptive, PolicyKind::ActiveCks] {
        let mut world = World::new(TrackerKind::Async, (Mapping::Huge, policy));
        for _ in 0..100 {
            world.step(Op::Alloc { count: 250, bytes: 64, fill: Some(0) }).unwrap();
        }
        let objects: Vec<u64> = world.live.iter().copied().collect();
        let (shared, stop, half) = (world.shared.clone(), AtomicBool::new(false), objects.len() / 2);
        let write_pairs = || {
            let mut count = 0usize;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let first = count * 7919 % half;
                let both = [objects[first], objects[first + half]];
                // SAFETY: the bytes are those of live objects, which only this thread writes.
                shared.enter(|_, _| both.map(|addr| unsafe { sys::ptr(addr).cast::<u64>().write(count as u64) }));
                // Rarely enough that many lane-blocks are clean when they are scanned, and often enough that some are written right after.
                let pause = std::time::Instant::now();
                while pause.elapsed() < std::time::Duration::from_micros(5) {
                    std::hint::spin_loop();
                }
            }
        };
        let mut cut_and_compare = || {
            let Shared { allocator, threads, roots } = &*world.shared;
            let (report, builder) = world.cuts.cut(allocator, threads, roots, Vec::new()).unwrap();
            world.image.apply(&mut builder.finish());
            let value = |addr: u64| {
                let page = FrameIndex(((dense_address(addr) & ((1 << ZONE_SHIFT) - 1)) >> PAGE_SHIFT) as u32);
                let bytes = &world.image.page(ZoneIndex(0), page)[addr as usize % PAGE..][..8];
                u64::from_le_bytes(bytes.try_into().unwrap())
            };
            for first in 0..half {
                let (one, other) = (value(objects[first]), value(objects[first + half]));
                assert_eq!(one, other, "{policy}: objects {first} and {} were written together", first + half);
            }
            report.passes - 1
        };
        let again: u32 = std::thread::scope(|scope| {
            scope.spawn(write_pairs);
            let _stopping = StopOnDrop(&stop);
            (0..300).map(|_| cut_and_compare()).sum()
        });
        world.cut(Fate::Durable).unwrap();
        println!("{policy}: 300 cuts, {again} of them made twice");
    }
}

/// What the first pass of a cut has recorded is newer than the image: a slot that is what it is in the image again when the cut is made a second time must be recorded, too.
#[test]
fn what_was_written_back_between_two_passes_is_recorded() {
    if !is_there(TrackerKind::Async) {
        return;
    }
    let mut world = World::new(TrackerKind::Async, (Mapping::Huge, PolicyKind::Coarse));
    let block = |fill| Op::Alloc { count: BLOCK_OBJECTS, bytes: BLOCK_OBJECT_BYTES, fill };
    // A page run is harvested while the world is stopped, which is how the test knows that it was.
    let run = Op::Alloc { count: 1, bytes: 2 * PAGE, fill: None };
    [run, block(Some(1)), Op::Idle(3)].into_iter().for_each(|op| world.step(op).unwrap());
    // New slots, whose lane-block is cold once the first pass has recorded it, and another one, which is written to as well so that there is a second pass.
    let before = world.live.clone();
    world.step(Op::Alloc { count: 2000, bytes: BLOCK_OBJECT_BYTES, fill: Some(7) }).unwrap();
    let new: Vec<u64> = world.live.difference(&before).copied().collect();
    let old = *before.range(..=(new[0] | ((1 << ZONE_SHIFT) - 1))).next_back().unwrap();
    let (shared, mut was_stopped, mut written) = (world.shared.clone(), false, false);
    *world.fuses.meanwhile.lock().unwrap() = Some(Box::new(move || {
        if shared.threads.is_stopped() {
            was_stopped = true;
            return;
        }
        let write = was_stopped && !std::mem::replace(&mut written, was_stopped);
        shared.enter(|_, _| {
            if write {
                // SAFETY: the objects are live, and this thread alone knows them. The new ones become what free slots are in the image.
                unsafe {
                    sys::ptr(old).write(2);
                    new.iter().for_each(|new| sys::ptr(*new).write_bytes(0, BLOCK_OBJECT_BYTES));
                }
            }
        });
    }));
    let Shared { allocator, threads, roots } = &*world.shared;
    let (report, builder) = world.cuts.cut(allocator, threads, roots, Vec::new()).unwrap();
    *world.fuses.meanwhile.lock().unwrap() = None;
    assert_eq!(report.passes, 2);
    world.image.apply(&mut builder.finish());
    world.compare().unwrap();
}
