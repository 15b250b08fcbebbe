//! Heaps side by side, files that come out the same, and files that nobody touches.

use std::alloc::Layout;
use std::path::Path;
use std::process::Command;
use strewn::TrackerKind;
use strewn_tests::files::{Snapshot, allocated_bytes};
use strewn_tests::memory::{object, pattern, read, write};
use strewn_tests::process::{alone, say, seed, stdout_of};
use strewn_tests::specimen;
use strewn_tests::trackers::{any_tracker, options, trackers};

const CHILD: &str = env!("CARGO_BIN_EXE_strewn-test-child");

/// In processes of their own, because the zones that a heap gets depend on who else is in the process.
fn replayed(dir: &Path, name: &str, tracker: TrackerKind, seed: u64, close: bool) -> Snapshot {
    let path = dir.join(name).join("replay.heap");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let (seed, close) = (seed.to_string(), u8::from(close).to_string());
    stdout_of(Command::new(CHILD).arg("replay").arg(&path).args([&tracker.to_string(), &seed, &close]));
    Snapshot::take(&path)
}

#[test]
fn the_same_seed_and_operations_write_the_same_bytes() {
    let seed = seed();
    for tracker in trackers() {
        for close in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let [a, b] = ["a", "b"].map(|name| replayed(dir.path(), name, tracker, seed, close));
            let change = a.content_change(&b);
            assert!(change.is_none(), "{tracker}, STREWN_SEED={seed}, closed {close}: {change:?}");
            let other = replayed(dir.path(), "c", tracker, seed.wrapping_add(1), close);
            assert!(a.content_change(&other).is_some(), "{tracker}: another seed wrote the same bytes");
        }
    }
}

#[test]
fn a_checkpoint_of_nothing_writes_nothing() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("still.heap");
        let heap = options(tracker, 1 << 20).create(&path).unwrap();
        nothing_is_written(&heap, &path);
        for step in 1..=3 {
            specimen::grow(&heap).unwrap();
            let cut = heap.checkpoint().unwrap();
            assert_eq!(cut.epoch, step);
            nothing_is_written(&heap, &path);
        }
        drop(heap);
        // After recovery nothing counts as written either, also in pages that nobody has touched since.
        for close in [false, true] {
            let heap = options(tracker, 1 << 20).open(&path).unwrap();
            nothing_is_written(&heap, &path);
            assert_eq!(specimen::verify(&heap), Ok(3));
            nothing_is_written(&heap, &path);
            if close {
                heap.close().unwrap();
            }
        }
        let heap = options(tracker, 1 << 20).open(&path).unwrap();
        nothing_is_written(&heap, &path);
    }
}

fn nothing_is_written(heap: &strewn::Heap, path: &Path) {
    let (files, before) = (Snapshot::take(path), heap.stats().unwrap());
    let cuts = [heap.checkpoint().unwrap(), heap.checkpoint_async().unwrap().wait().unwrap()];
    let after = heap.stats().unwrap();
    for cut in cuts {
        assert_eq!((cut.record_bytes, cut.objects_modified, cut.bytes_modified, cut.epoch), (0, 0, 0, before.epoch));
    }
    let counts =
        |stats: &strewn::Stats| (stats.log_bytes, stats.fold_bytes, stats.syncs, stats.checkpoints, stats.epoch);
    assert_eq!(counts(&before), counts(&after), "(log bytes, fold bytes, syncs, checkpoints, epoch)");
    let change = files.any_change(&Snapshot::take(path));
    assert!(change.is_none(), "{}: {change:?}", heap.stats().unwrap().tracker);
}

/// Allocates, fills and returns an object.
fn filled(heap: &strewn::Heap, size: usize, seed: u64) -> (u64, usize, u64) {
    let section = heap.enter();
    let pointer = section.alloc(Layout::from_size_align(size, 8).unwrap()).unwrap();
    let addr = pointer.as_ptr().expose_provenance() as u64;
    // SAFETY: just allocated, for this size.
    unsafe { write(addr, &pattern(seed, size)) };
    (addr, size, seed)
}

#[test]
fn several_heaps_share_a_process() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let trackers = trackers();
    let path = |i: usize| dir.path().join(format!("{i}.heap"));
    let tracker = |i: usize| trackers[i % trackers.len()];
    let heaps: Vec<_> = (0..6).map(|i| options(tracker(i), 8192).create(path(i)).unwrap()).collect();
    let mut objects = vec![Vec::new(); heaps.len()];
    for round in 0..40 {
        for (i, heap) in heaps.iter().enumerate() {
            let size = [40, 200, 1000, 6000][(round + i) % 4];
            objects[i].push(filled(heap, size, (round * 10 + i) as u64));
            if (round + i) % 3 == 0 {
                heap.checkpoint().unwrap();
            }
        }
    }
    let addr = object(objects[0][0].0);
    assert!(heaps[0].enter().owns(addr));
    let other = heaps[1].enter();
    assert!(!other.owns(addr));
    assert_eq!(other.usable_bytes(addr), None);
    drop(other);
    for (i, heap) in heaps.into_iter().enumerate() {
        heap.checkpoint().unwrap();
        if i % 2 == 0 { drop(heap.close().unwrap()) } else { drop(heap) }
    }
    let heaps: Vec<_> = (0..6).rev().map(|i| options(tracker(i), 8192).open(path(i)).unwrap()).collect();
    for (heap, objects) in heaps.iter().rev().zip(&objects) {
        heap.check();
        assert_eq!(heap.stats().unwrap().live_objects, objects.len() as u64);
        let _section = heap.enter();
        for (addr, size, seed) in objects {
            // SAFETY: a live object of this size; nobody writes.
            assert!(unsafe { read(*addr, *size) } == pattern(*seed, *size), "{addr:#x} in {}", heap.path().display());
        }
    }
}

#[test]
fn async_and_signal_open_each_others_heaps() {
    let _alone = alone();
    if trackers().len() < 2 {
        return strewn_tests::process::skip("one tracker opening another's heap: there is only one");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("both.heap");
    drop(options(TrackerKind::Async, 4096).create(&path).unwrap());
    for step in 1..=6 {
        let tracker = if step % 2 == 0 { TrackerKind::Async } else { TrackerKind::Signal };
        let heap = options(tracker, 4096).open(&path).unwrap();
        assert_eq!(specimen::verify(&heap), Ok(step - 1));
        assert_eq!(heap.stats().unwrap().tracker, tracker);
        specimen::grow(&heap).unwrap();
        heap.checkpoint().unwrap();
    }
}

#[test]
fn what_is_freed_goes_back_to_the_system_and_to_the_disk() {
    let _alone = alone();
    const BYTES: usize = 32 << 20;
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shrinking.heap");
        let heap = options(tracker, 8 << 20).create(&path).unwrap();
        let kept = filled(&heap, 300, 7);
        let small = (0..BYTES / 512).map(|i| filled(&heap, 500, i as u64));
        let large = (0..BYTES / (128 << 10)).map(|i| filled(&heap, 128 << 10, i as u64));
        let objects: Vec<_> = small.chain(large).collect();
        heap.checkpoint().unwrap();
        heap.close().unwrap();
        let full_disk = allocated_bytes(&path);
        let heap = options(tracker, 8 << 20).open(&path).unwrap();
        let full = heap.stats().unwrap();
        assert!(full.arena_bytes >= 2 * BYTES as u64 && full_disk >= 2 * BYTES as u64, "{full:?} {full_disk}");
        for (addr, ..) in objects {
            // SAFETY: a live object, not used again.
            unsafe { heap.enter().dealloc(object(addr)) };
        }
        for _ in 0..2 {
            heap.checkpoint().unwrap();
        }
        let empty = heap.stats().unwrap();
        assert!(empty.arena_bytes < full.arena_bytes / 20, "{tracker}: {} of {}", empty.arena_bytes, full.arena_bytes);
        assert_eq!(empty.live_objects, 1);
        heap.close().unwrap();
        let empty_disk = allocated_bytes(&path);
        say(&format!(
            "model: {tracker}: memory {} -> {} KiB, disk {} -> {} KiB",
            full.arena_bytes >> 10,
            empty.arena_bytes >> 10,
            full_disk >> 10,
            empty_disk >> 10
        ));
        assert!(empty_disk < full_disk / 20, "{tracker}: {empty_disk} of {full_disk} bytes of disk");
        let _heap = options(tracker, 4096).open(&path).unwrap();
        // SAFETY: the one object that is left; nobody writes.
        assert!(unsafe { read(kept.0, kept.1) } == pattern(kept.2, kept.1));
    }
}

#[test]
fn a_heap_moves_with_its_directory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["from.heap", "to.heap"].map(|name| dir.path().join(name));
    let heap = options(any_tracker(), 4096).create(&from).unwrap();
    specimen::grow(&heap).unwrap();
    heap.close().unwrap();
    std::fs::rename(&from, &to).unwrap();
    assert_eq!(specimen::open_and_verify(&to, any_tracker()), Ok(1));
}
