//! Programs that use the API wrongly: each is told so.

use crate::make_specimen;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use strewn::{ErrorKind, FromIteratorIn, Heap, PBox, PVec};
use strewn_tests::process::alone;
use strewn_tests::specimen;
use strewn_tests::trackers::{any_tracker, options, trackers};

#[test]
fn a_checkpoint_in_a_section_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let heap = options(any_tracker(), 4096).create(dir.path().join("section.heap")).unwrap();
    let outer = heap.enter();
    let inner = heap.enter();
    drop(outer);
    assert_eq!(heap.checkpoint().unwrap_err().kind(), ErrorKind::InSection);
    assert_eq!(heap.checkpoint_async().err().unwrap().kind(), ErrorKind::InSection);
    drop(inner);
    heap.checkpoint().unwrap();
}

#[test]
fn a_forked_child_is_refused_and_its_parent_goes_on() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fork.heap");
        make_specimen(&path, tracker, 4096, 1, true);
        let heap = Heap::options().tracker(tracker).open(&path).unwrap();
        // SAFETY: the child does nothing that needs another thread: it makes errors, which only allocates, and glibc's
        // allocator works in a forked child; then it ends without destructors.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let forked = |kind: Option<ErrorKind>| kind == Some(ErrorKind::Forked);
                let entered = forked(heap.try_enter().err().map(|e| e.kind()));
                let cut = forked(heap.checkpoint().err().map(|e| e.kind()));
                let closed = forked(heap.close().err().map(|e| e.kind()));
                // SAFETY: ends the process.
                unsafe { libc::_exit(i32::from(!entered) + 2 * i32::from(!cut) + 4 * i32::from(!closed)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0), "{tracker}");
            }
        }
        specimen::grow(&heap).unwrap();
        heap.checkpoint().unwrap();
        assert_eq!(specimen::verify(&heap), Ok(2));
        drop(heap);
        assert_eq!(specimen::open_and_verify(&path, tracker), Ok(2));
    }
}

#[test]
fn a_thread_is_inside_sections_of_one_heap_at_a_time() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [one, two] =
        ["one.heap", "two.heap"].map(|name| options(any_tracker(), 4096).create(dir.path().join(name)).unwrap());
    let outer = one.enter();
    let error = two.try_enter().err().expect("a section of another heap");
    assert_eq!(error.kind(), ErrorKind::InSection);
    let text = error.to_string();
    assert!(text.contains("two.heap") && text.contains("section of another heap"), "{text}");
    let panic = catch_unwind(AssertUnwindSafe(|| drop(two.enter()))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>(), Some(&text));
    // What enters a section by itself is refused as well.
    let refused = [
        two.root::<u64>("number", |_| panic!("not reached")).err(),
        two.find_root::<u64>("number").err(),
        two.swap_roots(&[("a", "b")]).err(),
    ];
    assert_eq!(refused.map(|e| e.map(|e| e.kind())), [Some(ErrorKind::InSection); 3]);
    // Another thread is not concerned, nor are more sections of the same heap; and the order in which they end does not matter.
    std::thread::scope(|scope| scope.spawn(|| drop(two.enter())).join()).unwrap();
    let inner = one.enter();
    drop(outer);
    assert_eq!(two.try_enter().err().map(|e| e.kind()), Some(ErrorKind::InSection));
    drop(inner);
    let section = two.enter();
    assert_eq!(one.try_enter().err().map(|e| e.kind()), Some(ErrorKind::InSection));
    drop(section);
    drop(one.enter());
    // A panic that was caught inside a section did not leave it.
    one.checkpoint().unwrap();
    two.checkpoint().unwrap();
}

#[test]
fn values_grow_in_their_own_heap_or_not_at_all() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [one, two] =
        ["one.heap", "two.heap"].map(|name| options(any_tracker(), 4096).create(dir.path().join(name)).unwrap());
    let in_one = one.enter();
    let mut empty = PVec::<u64>::new_in(&in_one);
    let mut full = PVec::from_slice_in(&[7u64, 8], &in_one);
    full.shrink_to_fit();
    full.resize(full.capacity(), 9);
    let boxed = PBox::new_in(7u64, &in_one);
    std::thread::scope(|scope| {
        let mut elsewhere = |inside: bool| {
            let _section = inside.then(|| two.enter());
            for vec in [&mut empty, &mut full] {
                let before = vec.to_vec();
                let error = vec.try_push(1).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotInSection, "{error}");
                let panic = catch_unwind(AssertUnwindSafe(|| vec.push(1))).unwrap_err();
                assert_eq!(panic.downcast_ref::<String>(), Some(&error.to_string()));
                assert_eq!(*vec, before);
            }
            assert!(catch_unwind(AssertUnwindSafe(|| boxed.clone())).is_err());
            assert!(catch_unwind(AssertUnwindSafe(|| full.clone())).is_err());
        };
        scope.spawn(move || {
            elsewhere(false);
            elsewhere(true);
        });
    });
    drop((empty, full, boxed));
    drop(in_one);
    assert_eq!((one.stats().unwrap().live_objects, two.stats().unwrap().live_objects), (0, 0));
    let root = one.root::<u64>("root", |_| Ok(1)).unwrap();
    let in_two = two.enter();
    assert_eq!(root.read(&in_two).err().unwrap().kind(), ErrorKind::InvalidArgument);
    assert_eq!(root.write(&in_two).err().unwrap().kind(), ErrorKind::InvalidArgument);
    drop(in_two);
    for heap in [&one, &two] {
        heap.check();
        heap.checkpoint().unwrap();
    }
}

#[test]
fn what_another_thread_drops_is_freed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [one, two] =
        ["one.heap", "two.heap"].map(|name| options(any_tracker(), 4096).create(dir.path().join(name)).unwrap());
    for inside in [None, Some(&one), Some(&two)] {
        let section = one.enter();
        let values = [1000, 1].map(|len| PVec::from_iter_in((0..len).map(|i| PBox::new_in(i, &section)), &section));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _section = inside.map(Heap::enter);
                drop(values);
            });
        });
        drop(section);
        one.check();
        one.checkpoint().unwrap();
        assert_eq!(one.stats().unwrap().live_objects, 0, "dropped inside {inside:?}");
    }
}

#[test]
fn conflicting_borrows_of_a_root_are_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let heap = options(any_tracker(), 4096).create(dir.path().join("borrow.heap")).unwrap();
    let root = heap.root::<u64>("root", |_| Ok(1)).unwrap();
    let again = heap.find_root::<u64>("root").unwrap().unwrap();
    let section = heap.enter();
    let reader = root.read(&section).unwrap();
    let error = again.write(&section).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::RootBorrowed);
    assert!(error.to_string().contains("`root`"), "{error}");
    drop(reader);
    let mut writer = again.write(&section).unwrap();
    assert_eq!(root.read(&section).err().unwrap().kind(), ErrorKind::RootBorrowed);
    *writer += 1;
    drop(writer);
    assert_eq!(*root.read(&section).unwrap(), 2);
}

/// A double free is noticed at the latest when the slot goes back to its zone, or at once for runs; never a corrupt heap.
#[test]
fn freeing_what_is_not_there_panics() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let heap = options(any_tracker(), 4096).create(dir.path().join("free.heap")).unwrap();
    let layout = std::alloc::Layout::from_size_align(9000, 8).unwrap();
    let free = |object| {
        let section = heap.enter();
        // SAFETY: not kept to; what this wants to see is that the heap notices, before it uses the memory.
        catch_unwind(AssertUnwindSafe(|| unsafe { section.dealloc(object) }))
    };
    let run = heap.enter().alloc(layout).unwrap();
    assert!(free(run).is_ok());
    assert!(free(run).is_err(), "a run was freed twice");
    let foreign = std::ptr::NonNull::from(Box::leak(Box::new(0u64))).cast();
    assert!(free(foreign).is_err(), "memory of the system was freed");
    heap.check();
    heap.checkpoint().unwrap();
}

/// `stats` is for monitoring threads; it must not wait for a cut that waits for the caller's section.
#[test]
fn stats_in_a_section_do_not_wait_for_a_cut() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let heap = options(any_tracker(), 4096).create(dir.path().join("stats.heap")).unwrap();
    let heap: &'static Heap = Box::leak(Box::new(heap));
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let section = heap.enter();
        let cut = std::thread::spawn(|| heap.checkpoint().map(|_| ()));
        // By now the cut has closed the gate, and waits for this section.
        std::thread::sleep(Duration::from_millis(50));
        let stats = heap.stats();
        drop(section);
        cut.join().unwrap().unwrap();
        // The receiver may have given up.
        let _ = done.send(stats.map(|_| ()));
    });
    let outcome = is_done.recv_timeout(Duration::from_secs(5));
    assert!(outcome.is_ok(), "deadlock: stats waits for the cut, which waits for the section");
}
