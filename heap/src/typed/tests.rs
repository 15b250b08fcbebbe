//! The typed API on a heap that is closed, left and opened again; also in the twin, where Miri looks at it.

#[cfg(not(any(loom, shuttle)))]
mod cells;
#[cfg(not(any(loom, shuttle)))]
mod hostile;
#[cfg(not(any(loom, shuttle)))]
mod roots;
#[cfg(not(any(loom, shuttle)))]
mod shared;

use super::*;
use crate::{Heap, Result, Writes};
use std::path::PathBuf;

const WORDS: [&str; 4] = ["a", "persistent", "", "heap"];

/// Steps, numbers, words, more than half a page (in a page run), and something odd.
type Desk<'s> = (u64, PVec<'s, u32>, PVec<'s, PString<'s>>, PVec<'s, u64>, Option<PBox<'s, [u64; 3]>>);

#[cfg(any(miri, strewn_twin))]
pub(crate) fn place() -> ((), PathBuf) {
    // Tests share one place in memory, under Miri.
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    ((), PathBuf::from(format!("/typed-{number}.heap")))
}

#[cfg(not(any(miri, strewn_twin)))]
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("typed.heap");
    (dir, path)
}

/// Opens the heap again. Tests that run beside this one may have a heap where it was: until they have ended.
pub(crate) fn reopen(options: &crate::HeapOptions, path: &std::path::Path) -> Heap {
    let start = std::time::Instant::now();
    loop {
        match options.open(path) {
            Err(e) if e.kind() == crate::ErrorKind::AddressInUse && start.elapsed().as_secs() < 60 => {
                std::thread::yield_now();
            }
            other => return other.unwrap(),
        }
    }
}

fn work(heap: &Heap) -> Result<u64> {
    let section = heap.enter();
    let root = heap.root::<Desk>("desk", |section| {
        Ok((0, PVec::new_in(section), PVec::new_in(section), PVec::new_in(section), None))
    })?;
    let mut desk = root.write(&section)?;
    let (steps, numbers, words, large, odd) = &mut *desk;
    *steps += 1;
    for _ in 0..5 {
        let next = numbers.len() as u32;
        numbers.push(next);
    }
    if *steps % 3 == 0 {
        let last = numbers.pop().unwrap();
        let first = numbers.swap_remove(0);
        numbers.extend_from_slice(&[first, last]);
    }
    words.push(PString::from_str_in(WORDS[*steps as usize % 4], &section));
    if large.is_empty() {
        large.resize(600, 7);
    }
    large[*steps as usize] = *steps;
    match odd.take() {
        Some(mut odd) => {
            odd[1] = *steps;
            assert_eq!(PBox::into_inner(odd), [*steps - 1, *steps, 9]);
        }
        None => *odd = Some(PBox::new_in([*steps, 0, 9], &section)),
    }
    Ok(*steps)
}

fn check(heap: &Heap, expected: u64) {
    let section = heap.enter();
    let root = heap.find_root::<Desk>("desk").unwrap().unwrap();
    let desk = root.read(&section).unwrap();
    let (steps, numbers, words, large, odd) = &*desk;
    assert_eq!((*steps, numbers.len() as u64), (expected, 5 * expected));
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..5 * expected as u32));
    for (step, word) in (1..).zip(words) {
        assert_eq!(word, WORDS[step % 4]);
    }
    assert!((1..600).zip(&large[1..]).all(|(i, n)| *n == if i <= expected { i } else { 7 }));
    assert_eq!(odd.as_deref(), (expected % 2 == 1).then_some(&[expected, 0, 9]));
}

#[test]
fn what_is_in_boxes_and_vectors_is_there_when_the_heap_is_opened_again() {
    let (_dir, path) = place();
    // Small, so that there are folds.
    let options = Heap::options().log_bytes(4096);
    drop(options.create(&path).unwrap());
    let (rounds, steps_each) = if cfg!(miri) { (2, 1) } else { (4, 2) };
    let mut steps = 0;
    for round in 0..rounds {
        let writes = if round % 2 == 0 { Writes::Barrier } else { Writes::Hardware };
        let heap = reopen(&options.clone().writes(writes), &path);
        for _ in 0..steps_each {
            steps = work(&heap).unwrap();
            heap.checkpoint().unwrap();
            check(&heap, steps);
        }
        heap.check();
        if round % 2 == 0 { drop(heap) } else { drop(heap.close().unwrap()) }
    }
    let heap = reopen(&options, &path);
    check(&heap, steps);
    assert_eq!(steps, rounds * steps_each);
}
