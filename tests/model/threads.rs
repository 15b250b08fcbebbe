//! Several threads at once, with checkpoints going on.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use strewn::{Heap, TrackerKind};
use strewn_tests::memory::{object, pattern, read, write};
use strewn_tests::process::{SeedOnFailure, alone, seed};
use strewn_tests::trackers::{options, trackers};

const THREADS: usize = 3;
const ROUNDS: u64 = 3;
const OPERATIONS: usize = 3000;

/// An object whose contents follow from a seed.
#[derive(Clone, Copy, Debug)]
struct Object {
    addr: u64,
    len: usize,
    seed: u64,
}

/// Works on objects of its own; gives some to the next thread, and takes over what it is given.
fn work(heap: &Heap, rng: &mut SmallRng, mine: &mut Vec<Object>, to: &Sender<Object>, from: &Receiver<Object>) {
    for _ in 0..OPERATIONS {
        let section = heap.enter();
        let draw = rng.random_range(0..12);
        let pick = rng.random_range(0..mine.len().max(1));
        if draw < 4 || mine.is_empty() {
            let len = if draw == 0 { rng.random_range(0..12_000) } else { rng.random_range(0..400) };
            let pointer = section.alloc(Layout::from_size_align(len, 8).unwrap()).unwrap();
            let new = Object { addr: pointer.as_ptr().expose_provenance() as u64, len, seed: rng.random() };
            // SAFETY: just allocated, for this length.
            unsafe { write(new.addr, &pattern(new.seed, len)) };
            mine.push(new);
        } else if draw < 7 {
            mine[pick].seed = rng.random();
            // SAFETY: a live object of this thread.
            unsafe { write(mine[pick].addr, &pattern(mine[pick].seed, mine[pick].len)) };
        } else if draw < 9 || mine.len() > 500 {
            let gone = mine.swap_remove(pick);
            check(gone);
            // SAFETY: a live object of this thread, forgotten just now; whichever thread allocated it.
            unsafe { section.dealloc(object(gone.addr)) };
        } else if draw < 11 {
            to.send(mine.swap_remove(pick)).unwrap();
        } else {
            mine.extend(from.try_iter());
        }
    }
}

fn check(object: Object) {
    // SAFETY: only called for live objects of the calling thread, or when no other thread runs.
    let found = unsafe { read(object.addr, object.len) };
    assert!(found == pattern(object.seed, object.len), "{object:?} has other bytes");
}

/// One round of all threads; returns all live objects.
fn round(heap: &Heap, rng: &mut SmallRng, objects: Vec<Object>) -> Vec<Object> {
    let ticker = heap.checkpoint_every(Duration::from_millis(1)).unwrap();
    let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel()).unzip();
    receivers.rotate_right(1);
    let shares = objects.chunks(objects.len().div_ceil(THREADS).max(1)).map(<[Object]>::to_vec);
    let shares: Vec<Vec<Object>> = shares.chain(std::iter::repeat(Vec::new())).take(THREADS).collect();
    let after = std::thread::scope(|scope| {
        let workers = senders.into_iter().zip(receivers).zip(shares).map(|((to, from), mut mine)| {
            let mut rng = SmallRng::seed_from_u64(rng.random());
            scope.spawn(move || {
                work(heap, &mut rng, &mut mine, &to, &from);
                drop(to);
                // Until the thread before this one has ended, too.
                mine.extend(from.iter());
                mine
            })
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    ticker.stop().unwrap();
    after
}

fn compare(heap: &Heap, objects: &[Object]) {
    heap.check();
    let section = heap.enter();
    let by_address: BTreeMap<u64, Object> = objects.iter().map(|object| (object.addr, *object)).collect();
    assert_eq!(by_address.len(), objects.len(), "an address was handed out twice");
    for object in by_address.values() {
        assert!(section.usable_bytes(strewn_tests::memory::object(object.addr)).unwrap() >= object.len);
        check(*object);
    }
    drop(section);
    assert_eq!(heap.stats().unwrap().live_objects, objects.len() as u64, "live objects");
}

#[test]
fn threads_agree_with_the_model() {
    let _alone = alone();
    let seed = seed();
    let _tell = SeedOnFailure(seed);
    for tracker in trackers() {
        let mut rng = SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("threads.heap");
        let mut objects = Vec::new();
        for number in 0..ROUNDS {
            let options = options(tracker, 32 << 10);
            let heap = options.open_or_create(&path).unwrap();
            compare(&heap, &objects);
            objects = round(&heap, &mut rng, objects);
            if number % 2 == 0 {
                heap.checkpoint().unwrap();
                compare(&heap, &objects);
                drop(heap);
            } else {
                heap.close().unwrap();
            }
        }
        compare(&options(tracker, 4096).open(&path).unwrap(), &objects);
    }
}

/// Three objects that must always hold the same number: small, larger, and a run of pages.
const PAIR_SIZES: [usize; 3] = [24, 1360, 9000];

fn write_number(addr: u64, len: usize, number: u64) {
    // SAFETY: a live object of the calling thread, of `len` bytes, inside a section.
    unsafe {
        write(addr, &number.to_le_bytes());
        write(addr + len as u64 - 8, &number.to_le_bytes());
    }
}

fn read_numbers(addr: u64, len: usize) -> [u64; 2] {
    // SAFETY: a live object of `len` bytes; nobody writes.
    [addr, addr + len as u64 - 8].map(|at| u64::from_le_bytes(unsafe { read(at, 8) }.try_into().unwrap()))
}

/// Writes the same number to all objects of a group, section after section, for a while. Returns the last one.
fn write_groups(heap: &Heap, group: &[u64; 3], until: Instant, written: &AtomicU64) {
    let mut number = 0;
    while Instant::now() < until {
        let section = heap.enter();
        number += 1;
        for (addr, len) in group.iter().zip(PAIR_SIZES) {
            write_number(*addr, len, number);
            std::hint::spin_loop();
        }
        drop(section);
    }
    written.fetch_add(number, Ordering::Relaxed);
}

fn sections_are_atomic(tracker: TrackerKind, path: &Path) {
    let mut groups: Vec<[u64; 3]> = Vec::new();
    let mut last_seen = 0;
    for _ in 0..8 {
        let heap = options(tracker, 16 << 10).open_or_create(path).unwrap();
        if groups.is_empty() {
            let section = heap.enter();
            groups.extend((0..THREADS).map(|_| {
                PAIR_SIZES.map(|size| {
                    let pointer = section.alloc(Layout::from_size_align(size, 8).unwrap()).unwrap();
                    let addr = pointer.as_ptr().expose_provenance() as u64;
                    write_number(addr, size, 0);
                    addr
                })
            }));
            drop(section);
            heap.checkpoint().unwrap();
        }
        let section = heap.enter();
        for group in &groups {
            let numbers: Vec<_> = group.iter().zip(PAIR_SIZES).map(|(addr, len)| read_numbers(*addr, len)).collect();
            assert!(
                numbers.iter().all(|n| n[0] == n[1] && *n == numbers[0]),
                "{tracker}: a section was torn: {numbers:?}"
            );
            last_seen += numbers[0][0];
        }
        drop(section);
        let until = Instant::now() + Duration::from_millis(60);
        let written = AtomicU64::new(0);
        let ticker = heap.checkpoint_every(Duration::from_micros(300)).unwrap();
        std::thread::scope(|scope| {
            groups.iter().for_each(|group| _ = scope.spawn(|| write_groups(&heap, group, until, &written)));
        });
        ticker.stop().unwrap();
        // The last sections are lost here, as in a crash.
    }
    assert!(last_seen > 0, "{tracker}: no checkpoint saw a section");
}

#[test]
fn no_checkpoint_shows_half_a_section() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        sections_are_atomic(tracker, &dir.path().join("sections.heap"));
    }
}

/// A thread's stock of free slots goes back to the heap after it ended, whether or not it was used since the last cut.
#[test]
fn slots_of_an_ended_thread_are_used_again() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ended.heap");
        let heap = options(tracker, 4096).create(&path).unwrap();
        let new = |seed| {
            let pointer = heap.enter().alloc(Layout::from_size_align(64, 8).unwrap()).unwrap();
            let new = Object { addr: pointer.as_ptr().expose_provenance() as u64, len: 64, seed };
            // SAFETY: just allocated, for this length.
            unsafe { write(new.addr, &pattern(seed, 64)) };
            new
        };
        // So that this thread has a stock of its own, and does not take over that of the ended one.
        let mut objects = vec![new(0)];
        std::thread::scope(|scope| {
            let work = || {
                let object = new(1);
                heap.checkpoint().unwrap();
                // This thread's stock lies there unused at another cut.
                object
            };
            objects.push(scope.spawn(work).join().unwrap());
        });
        heap.checkpoint().unwrap();
        for seed in 2..200 {
            objects.push(new(seed));
            if seed % 50 == 0 {
                heap.checkpoint().unwrap();
            }
        }
        heap.checkpoint().unwrap();
        compare(&heap, &objects);
        drop(heap);
        compare(&options(tracker, 4096).open(&path).unwrap(), &objects);
    }
}
