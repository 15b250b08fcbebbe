//! What changes through shared references: [`PCell`], [`PMutex`], [`PRwLock`].

use super::{place, reopen};
use crate::typed::*;
use crate::{Heap, Section};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// In the root, in a box, in an array of slots, in an array in a page run, within another, and an atomic.
type Shelf<'s> = (
    PMutex<u64>,
    PBox<'s, PRwLock<u64>>,
    PVec<'s, PMutex<u64>>,
    PVec<'s, PMutex<u64>>,
    PMutex<(PCell<u64>, PString<'s>)>,
    AtomicU64,
);

fn shelf<'s>(section: &'s Section<'_>) -> crate::Result<Shelf<'s>> {
    let locks = |count| (0..count).map(|_| PMutex::new(0)).collect_in(section);
    Ok((
        PMutex::new(0),
        PBox::new_in(PRwLock::new(0), section),
        locks(3),
        locks(1000),
        PMutex::new((PCell::new(0), PString::new_in(section))),
        AtomicU64::new(0),
    ))
}

/// Writes `value` everywhere, through shared references alone.
fn write(heap: &Heap, value: u64) {
    let section = heap.enter();
    let root = heap.find_root::<Shelf>("shelf").unwrap().unwrap();
    let shelf = root.read(&section).unwrap();
    *shelf.0.lock() = value;
    *shelf.1.write() = value;
    *shelf.2[1].lock() = value;
    *shelf.3[999].lock() = value;
    let within = shelf.4.lock();
    assert_eq!(within.0.replace(value), value - 1);
    drop(within);
    shelf.4.lock().1.push('x');
    shelf.5.store(value, Ordering::Relaxed);
}

fn check(heap: &Heap, value: u64) {
    let section = heap.enter();
    let root = heap.find_root::<Shelf>("shelf").unwrap().unwrap();
    let shelf = root.read(&section).unwrap();
    let within = shelf.4.lock();
    let numbers = [
        *shelf.0.lock(),
        *shelf.1.read(),
        *shelf.2[1].lock(),
        *shelf.3[999].lock(),
        within.0.get(),
        within.1.len() as u64,
    ];
    assert_eq!(numbers, [value; 6]);
    assert_eq!(shelf.5.load(Ordering::Relaxed), value);
}

#[test]
fn what_is_written_through_shared_references_is_in_the_next_checkpoint() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<Shelf>("shelf", shelf).unwrap();
    // What is new is recorded anyway; from here on only what is noticed is.
    heap.checkpoint().unwrap();
    heap.checkpoint().unwrap();
    let mut heap = Some(heap);
    for value in 1..=if cfg!(miri) { 2 } else { 6 } {
        let open = heap.take().unwrap();
        write(&open, value);
        open.checkpoint().unwrap();
        if value % 2 == 0 {
            // As in a crash: what no checkpoint has is lost.
            drop(open);
            heap = Some(reopen(&Heap::options().verify(true), &path));
        } else {
            heap = Some(open);
        }
        check(heap.as_ref().unwrap(), value);
    }
}

/// The first word of a lock.
fn word_of<T>(lock: &T) -> u64 {
    assert!(size_of::<T>() >= 8 && align_of::<T>() >= 8);
    // SAFETY: a lock begins with its word, an atomic that nobody changes meanwhile.
    unsafe { std::ptr::from_ref(lock).cast::<u64>().read() }
}

#[test]
fn a_guard_that_was_leaked_is_forgotten_when_the_heap_is_opened_again() {
    type Locks<'s> = (PMutex<u64>, PRwLock<u64>, PRwLock<u64>);
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let new = |_: &Section<'_>| Ok((PMutex::new(1), PRwLock::new(2), PRwLock::new(3)));
    let root = heap.root::<Locks>("locks", new).unwrap();
    {
        let section = heap.enter();
        let locks = root.read(&section).unwrap();
        drop((locks.0.lock(), locks.1.read(), locks.2.write()));
        assert_eq!([word_of(&locks.0), word_of(&locks.1), word_of(&locks.2)], [0; 3]);
        std::mem::forget((locks.0.lock(), locks.1.read(), locks.2.write()));
    }
    heap.checkpoint().unwrap();
    {
        let section = heap.enter();
        let locks = root.read(&section).unwrap();
        assert!(locks.0.try_lock().is_none() && locks.1.try_write().is_none() && locks.2.try_read().is_none());
        assert!(locks.1.try_read().is_some(), "readers share");
    }
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    let root = heap.find_root::<Locks>("locks").unwrap().unwrap();
    let section = heap.enter();
    let locks = root.read(&section).unwrap();
    let words = [word_of(&locks.0), word_of(&locks.1), word_of(&locks.2)];
    assert!(words.iter().all(|word| *word != 0), "they were held at the checkpoint: {words:x?}");
    assert_eq!((*locks.0.lock(), *locks.1.write(), *locks.2.read()), (1, 2, 3));
    assert!(locks.0.try_lock().is_some() && locks.1.try_write().is_some() && locks.2.try_write().is_some());
}

#[test]
fn threads_with_a_ticker_never_see_half_a_change_nor_does_a_checkpoint() {
    type Pair<'s> = (PMutex<(u64, u64)>, PRwLock<(u64, u64)>);
    const THREADS: u64 = 4;
    let rounds: u64 = if cfg!(miri) { 3 } else { 2000 };
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let root = heap.root::<Pair>("pair", |_| Ok((PMutex::new((0, 0)), PRwLock::new((0, 0))))).unwrap();
    let ticker = (!cfg!(miri)).then(|| heap.checkpoint_every(Duration::from_millis(2)).unwrap());
    let work = |_| {
        for round in 0..rounds {
            let section = heap.enter();
            let pair = root.read(&section).unwrap();
            let mut locked = pair.0.lock();
            locked.0 += 1;
            // A page that is written for the first time, and others that come to wait.
            locked.1 += 1;
            drop(locked);
            if round % 4 == 0 {
                let mut written = pair.1.write();
                written.0 += 1;
                written.1 += 1;
            } else {
                let read = pair.1.read();
                assert_eq!(read.0, read.1);
            }
        }
    };
    std::thread::scope(|scope| {
        for i in 0..THREADS {
            scope.spawn(move || work(i));
        }
    });
    drop(ticker);
    let done = THREADS * rounds;
    let written = THREADS * rounds.div_ceil(4);
    {
        let section = heap.enter();
        let pair = root.read(&section).unwrap();
        assert_eq!((*pair.0.lock(), *pair.1.read()), ((done, done), (written, written)));
    }
    // As of some checkpoint of the ticker.
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    if let Some(root) = heap.find_root::<Pair>("pair").unwrap() {
        let section = heap.enter();
        let pair = root.read(&section).unwrap();
        let (locked, read) = (*pair.0.lock(), *pair.1.read());
        assert!(locked.0 == locked.1 && locked.0 <= done, "{locked:?}");
        assert!(read.0 == read.1 && read.0 <= written, "{read:?}");
    }
}

#[test]
fn a_checkpoint_waits_for_whoever_holds_a_lock_and_whoever_waits_for_it() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let root = heap.root::<PMutex<u64>>("count", |_| Ok(PMutex::new(0))).unwrap();
    let (waits, waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let section = heap.enter();
        let count = root.read(&section).unwrap();
        let mut held = count.lock();
        let (heap, root) = (&heap, &root);
        let waiter = scope.spawn(move || {
            let section = heap.enter();
            waits.send(()).unwrap();
            *root.read(&section).unwrap().lock() += 1;
        });
        waiting.recv().unwrap();
        let cut = scope.spawn(|| heap.checkpoint());
        // Until the cut waits for both.
        while !heap.engine().threads.is_stopped() {
            std::thread::yield_now();
        }
        // Who is inside goes on: nested sections as well.
        let nested = heap.enter();
        *held += 1;
        drop((held, nested));
        drop(count);
        drop(section);
        waiter.join().unwrap();
        cut.join().unwrap().unwrap();
    });
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    let root = heap.find_root::<PMutex<u64>>("count").unwrap().unwrap();
    let section = heap.enter();
    assert_eq!(*root.read(&section).unwrap().lock(), 2, "the cut came after both");
}

#[test]
fn a_lock_excludes_threads_wherever_they_are() {
    let ((_dir, path), (_other_dir, other_path)) = (place(), place());
    let heap = Heap::create(&path).unwrap();
    let other_path = other_path.with_file_name("other.heap");
    let other = Heap::create(other_path).unwrap();
    let rounds = if cfg!(miri) { 5 } else { 20_000 };
    // The number is no atomic, and is inside, so that a lock that two have loses counts.
    let root = heap.root::<PMutex<u64>>("count", |_| Ok(PMutex::new(0))).unwrap();
    let section = heap.enter();
    let count = root.read(&section).unwrap();
    let in_no_heap = PMutex::new(0);
    let add = |lock: &PMutex<u64>| (0..rounds).for_each(|_| *lock.lock() += 1);
    std::thread::scope(|scope| {
        let (count, in_no_heap, other, add): (&PMutex<u64>, _, _, _) = (&count, &in_no_heap, &other, &add);
        scope.spawn(move || (add(count), add(in_no_heap)));
        scope.spawn(move || {
            let _elsewhere = other.enter();
            (add(count), add(in_no_heap))
        });
        add(count);
        add(in_no_heap);
    });
    assert_eq!((*count.lock(), in_no_heap.into_inner()), (3 * rounds, 3 * rounds));
}

#[test]
fn whoever_waits_is_woken() {
    let (lock, done) = (PRwLock::new(0u64), AtomicBool::new(false));
    let rounds = if cfg!(miri) { 3 } else { 300 };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(*lock.read() <= rounds);
                }
            });
        }
        for _ in 0..rounds {
            let mut number = lock.write();
            std::thread::yield_now();
            *number += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(lock.into_inner(), rounds);
}

#[test]
fn cells_are_those_of_std() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let section = heap.enter();
    let (a, mut b) = (PCell::new(PString::from_str_in("a", &section)), PCell::new(PString::from_str_in("b", &section)));
    a.swap(&b);
    assert_eq!(a.replace(PString::new_in(&section)), "b");
    assert_eq!(b.get_mut().as_str(), "a");
    a.set(PString::from_str_in("c", &section));
    assert_eq!(a.into_inner(), "c");
    let number = PCell::new(3);
    number.update(|n| n * 2);
    assert_eq!((number.get(), number.take(), number.get()), (6, 6, 0));
    assert!(PCell::new(1) < PCell::new(2) && PCell::new(1).clone() == PCell::from(1));
    let mut lock = PMutex::new(1);
    *lock.get_mut() += 1;
    assert_eq!(format!("{lock:?}"), "PMutex(2)");
    let held = lock.lock();
    assert_eq!(format!("{lock:?} {held:?}"), "PMutex(<locked>) 2");
    drop(held);
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn what_can_go_to_and_be_used_by_other_threads_is_as_in_std() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<PCell<u64>>();
    sync::<PMutex<PCell<u64>>>();
    sync::<PRwLock<u64>>();
    sync::<PMutexGuard<'_, u64>>();
    send::<PArc<'_, PMutex<PCell<u64>>>>();
    sync::<PArc<'_, PMutex<PCell<u64>>>>();
    assert_eq!((size_of::<PMutex<u64>>(), size_of::<PRwLock<u64>>(), size_of::<PArc<'_, u64>>()), (16, 16, 8));
}
