//! The typed API on a heap that is closed, left and opened again; also in the twin, where Miri looks at it.

use super::*;
use crate::{Heap, Result, Writes};
use std::path::PathBuf;

const WORDS: [&str; 4] = ["a", "persistent", "", "heap"];

#[repr(C)]
struct Desk {
    steps: u64,
    numbers: PVec<u32>,
    words: PVec<PVec<u8>>,
    /// More than half a page: in a page run.
    large: PVec<u64>,
    odd: Option<PBox<[u64; 3]>>,
}

// SAFETY: every field is Persist, and the layout is that of C.
unsafe impl Persist for Desk {}

#[cfg(any(miri, strewn_twin))]
fn place() -> ((), PathBuf) {
    ((), PathBuf::from("/typed.heap"))
}

#[cfg(not(any(miri, strewn_twin)))]
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("typed.heap");
    (dir, path)
}

fn work(heap: &Heap) -> Result<u64> {
    let section = heap.enter();
    let empty = || Desk { steps: 0, numbers: PVec::new(), words: PVec::new(), large: PVec::new(), odd: None };
    let root = heap.root("desk", |_| Ok(empty()))?;
    let mut desk = root.write(&section)?;
    desk.steps += 1;
    let steps = desk.steps;
    for _ in 0..5 {
        let next = desk.numbers.len() as u32;
        desk.numbers.push(next, &section)?;
    }
    if steps % 3 == 0 {
        let last = desk.numbers.pop(&section);
        assert!(last.is_some());
        let first = desk.numbers.swap_remove(0, &section);
        desk.numbers.extend_from_slice(&[first, last.unwrap()], &section)?;
    }
    let word = PVec::from_slice(WORDS[steps as usize % 4].as_bytes(), &section)?;
    desk.words.push(word, &section)?;
    if desk.large.is_empty() {
        desk.large.extend_from_slice(&[7; 600], &section)?;
    }
    desk.large.as_mut_slice(&section)[steps as usize] = steps;
    match desk.odd.take() {
        Some(mut odd) => {
            odd.get_mut(&section)[1] = steps;
            assert_eq!(odd.into_inner(&section), [steps - 1, steps, 9]);
        }
        None => desk.odd = Some(PBox::new([steps, 0, 9], &section)?),
    }
    Ok(steps)
}

fn check(heap: &Heap, steps: u64) {
    let section = heap.enter();
    let root = heap.find_root::<Desk>("desk").unwrap().unwrap();
    let desk = root.read(&section).unwrap();
    assert_eq!((desk.steps, desk.numbers.len() as u64), (steps, 5 * steps));
    let mut numbers = desk.numbers.as_slice(&section).to_vec();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..5 * steps as u32));
    for (step, word) in (1..).zip(desk.words.as_slice(&section)) {
        assert_eq!(word.as_slice(&section), WORDS[step % 4].as_bytes());
    }
    assert!((1..600).zip(&desk.large.as_slice(&section)[1..]).all(|(i, n)| *n == if i <= steps { i } else { 7 }));
    assert_eq!(desk.odd.as_ref().map(|odd| *odd.get(&section)), (steps % 2 == 1).then_some([steps, 0, 9]));
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
        let heap = options.clone().writes(writes).open(&path).unwrap();
        for _ in 0..steps_each {
            steps = work(&heap).unwrap();
            heap.checkpoint().unwrap();
            check(&heap, steps);
        }
        heap.check();
        if round % 2 == 0 { drop(heap) } else { drop(heap.close().unwrap()) }
    }
    let heap = options.open(&path).unwrap();
    check(&heap, steps);
    assert_eq!(steps, rounds * steps_each);
}
