//! The write barrier: who asks for it, what it costs, and that heaps do not remember it.

use std::alloc::Layout;
use strewn::testing::write_address;
use strewn::{CutReport, Heap, Mapping, PolicyKind, TrackerKind, Writes};
use strewn_tests::memory::{pattern, read};
use strewn_tests::process::{alone, fast_dir};
use strewn_tests::trackers::{options, trackers};

const BYTES: usize = 64;
const OBJECTS: u64 = 1000;
const WAYS: [Writes; 3] = [Writes::OfHeap, Writes::Hardware, Writes::Barrier];

fn alloc(heap: &Heap, count: u64) -> Vec<u64> {
    let section = heap.enter();
    let one = |seed| {
        let addr = section.alloc(Layout::from_size_align(BYTES, 8).unwrap()).unwrap();
        let addr = addr.as_ptr().expose_provenance() as u64;
        write(addr, seed, Writes::OfHeap);
        addr
    };
    (0..count).map(one).collect()
}

/// Writes a live object of this thread, which is inside a section. Returns whether it was written past the tracker.
fn write(addr: u64, seed: u64, writes: Writes) -> bool {
    // SAFETY: by the caller's word, a live object of as many bytes, in a section.
    let at = unsafe { write_address(addr, BYTES, writes) };
    let to = std::ptr::with_exposed_provenance_mut::<u8>(at as usize);
    // SAFETY: an object of as many bytes, which nobody else uses.
    unsafe { to.copy_from_nonoverlapping(pattern(seed, BYTES).as_ptr(), BYTES) };
    at != addr
}

/// Writes every seventh object, and makes a checkpoint. Returns how many were written past the tracker, what the checkpoint found, and how often the hardware
/// noticed a write.
fn round(heap: &Heap, objects: &[u64], seed: u64, writes: Writes) -> (u64, CutReport, u64) {
    let before = heap.stats().unwrap().ladder.faults;
    let section = heap.enter();
    let past = objects.iter().step_by(7).filter(|addr| write(**addr, seed ^ **addr, writes)).count() as u64;
    drop(section);
    let report = heap.checkpoint().unwrap();
    (past, report, heap.stats().unwrap().ladder.faults - before)
}

#[test]
fn a_type_says_how_its_writes_are_caught_or_else_the_heap() {
    let _alone = alone();
    let written = OBJECTS.div_ceil(7);
    for tracker in trackers() {
        let dir = fast_dir();
        let path = dir.path().join("barrier.heap");
        // Every object is caught on its own, so that each write that the hardware notices is counted.
        let options = options(tracker, 64 << 10).policy(PolicyKind::Fine).mapping(Mapping::Pages);
        let mut objects = Vec::new();
        for (session, of_heap) in (0..).zip([Writes::Barrier, Writes::Hardware, Writes::OfHeap, Writes::Barrier]) {
            let heap = options.clone().writes(of_heap).open_or_create(&path).unwrap();
            if session == 0 {
                objects = alloc(&heap, OBJECTS);
            }
            heap.checkpoint().unwrap();
            for (step, writes) in (0..).zip(WAYS.into_iter().chain(WAYS)) {
                let seed = session << 8 | step;
                let by_barrier = writes == Writes::Barrier || writes == Writes::OfHeap && of_heap != Writes::Hardware;
                let by_barrier = by_barrier && tracker != TrackerKind::Page;
                let (past, report, faults) = round(&heap, &objects, seed, writes);
                let what = format!("{tracker}, {of_heap}, {writes}, step {step}");
                assert_eq!(past, if by_barrier { written } else { 0 }, "{what}");
                assert!(report.objects_modified >= written, "{what}: {report:?}");
                if tracker != TrackerKind::Page {
                    assert_eq!(report.objects_modified, written, "{what}");
                    assert_eq!(faults, if by_barrier { 0 } else { written }, "{what}");
                }
                assert_eq!(heap.checkpoint().unwrap().record_bytes, 0, "{what}: nothing was written since");
            }
            drop(heap);
            // What the last checkpoint held is there, however it was written.
            let heap = options.open(&path).unwrap();
            let _section = heap.enter();
            for addr in objects.iter().step_by(7) {
                // SAFETY: a live object of as many bytes.
                assert_eq!(unsafe { read(*addr, BYTES) }, pattern((session << 8 | 5) ^ addr, BYTES), "{tracker}");
            }
        }
    }
}

/// A byte for each object whose neighbours are marked as well, and never given back.
#[test]
fn marks_count_as_bookkeeping() {
    let _alone = alone();
    for tracker in trackers().into_iter().filter(|tracker| *tracker != TrackerKind::Page) {
        let dir = fast_dir();
        let heap = options(tracker, 8 << 20).writes(Writes::Barrier).create(dir.path().join("barrier.heap")).unwrap();
        let objects = alloc(&heap, 40_000);
        let marked = |step: usize| {
            let before = heap.stats().unwrap().metadata_bytes;
            let section = heap.enter();
            objects.iter().step_by(step).for_each(|addr| assert!(write(*addr, 1, Writes::OfHeap)));
            drop(section);
            heap.checkpoint().unwrap();
            heap.stats().unwrap().metadata_bytes - before
        };
        // Marked when they were born, before the first checkpoint. As many lanes as a frame has slots, at most, and two pages for each.
        let born = marked(1);
        assert!((2 * 4096 * 32..=4096 * 1000).contains(&born), "{tracker}: {born}");
        assert!(marked(3) < 4096 * 8, "{tracker}");
    }
}
