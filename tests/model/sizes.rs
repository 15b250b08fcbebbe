//! Objects of extreme sizes and alignments.

use crate::world::World;
use std::alloc::Layout;
use std::time::Instant;
use strewn::ErrorKind;
use strewn_tests::memory::{object, read, write};
use strewn_tests::process::alone;
use strewn_tests::trackers::{options, trackers};

const GIB: usize = 1 << 30;

#[test]
fn a_large_object_costs_what_is_touched_of_it() {
    let _alone = alone();
    for tracker in trackers() {
        let start = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.heap");
        let heap = options(tracker, 1 << 20).create(&path).unwrap();
        let pointer = heap.enter().alloc(Layout::from_size_align(GIB, 8).unwrap()).unwrap();
        let addr = pointer.as_ptr().expose_provenance() as u64;
        let places = [0, 5000, GIB / 2 - 3, GIB - 4096 - 7, GIB - 8];
        let put = |value: u64| {
            let _section = heap.enter();
            // SAFETY: within the object; one thread.
            places.iter().for_each(|at| unsafe { write(addr + *at as u64, &(value + *at as u64).to_le_bytes()) });
        };
        put(1);
        let first = heap.checkpoint().unwrap();
        assert!(first.record_bytes < 64 << 10, "{tracker}: {first:?}");
        put(2);
        let second = heap.checkpoint().unwrap();
        assert!(second.objects_modified <= 8, "{tracker}: {second:?}");
        assert_eq!(heap.stats().unwrap().live_bytes, GIB as u64);
        heap.close().unwrap();
        for close in [false, true] {
            let heap = options(tracker, 4096).open(&path).unwrap();
            assert!(heap.stats().unwrap().arena_bytes < 4 << 20, "{tracker}");
            let _section = heap.enter();
            for at in places {
                // SAFETY: within the object; nobody writes.
                let [before, found, after] = [at.max(16) - 16, at, (at + 16).min(GIB - 16)]
                    .map(|at| u64::from_le_bytes(unsafe { read(addr + at as u64, 8) }.try_into().unwrap()));
                assert_eq!(found, 2 + at as u64, "{tracker}: at {at:#x}");
                assert!(places.contains(&(at.max(16) - 16)) || before == 0 && (after == 0 || at > GIB - 32));
            }
            drop(_section);
            if close {
                // SAFETY: live, not used again.
                unsafe { heap.enter().dealloc(object(addr)) };
                heap.close().unwrap();
            }
        }
        let heap = options(tracker, 4096).open(&path).unwrap();
        assert_eq!(heap.stats().unwrap().live_objects, 0);
        assert!(start.elapsed().as_secs() < 20, "{tracker}: {:?}", start.elapsed());
    }
}

#[test]
fn runs_are_aligned_as_asked() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(options(tracker, 64 << 10), dir.path().join("aligned.heap"));
        for shift in 12..=21 {
            for size in [0, 1, 24, 4096, 5000, 70_000] {
                let layout = Layout::from_size_align(size, 1 << shift).unwrap();
                let addr = world.alloc(layout, Some(size as u64 ^ shift));
                if size == 4096 {
                    world.free(addr);
                }
            }
        }
        world.checkpoint();
        world.crash();
        world.close();
    }
}

#[test]
fn what_cannot_fit_is_refused() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let heap = options(tracker, 4096).create(dir.path().join("full.heap")).unwrap();
        for (size, align) in [((512 << 30) + 1, 8), (isize::MAX as usize - 4096, 1), (8, 1 << 50)] {
            let refused = heap.enter().alloc(Layout::from_size_align(size, align).unwrap()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::HeapFull, "{refused}");
            assert!(refused.to_string().contains(&size.to_string()), "names no size: {refused}");
        }
        heap.check();
        heap.checkpoint().unwrap();
    }
}
