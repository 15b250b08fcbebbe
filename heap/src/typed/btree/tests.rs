//! What the tests have in common: heaps, values that count themselves, and allocations and comparisons that fail when told to.

/// Types that are written as a number.
macro_rules! as_number {
    ($($name:ident)*) => {
        $(
            // SAFETY: transparent over a number.
            unsafe impl Persist for $name {
                type In<'s> = Self;
                const INTERIOR: bool = false;
                fn describe(schema: &mut Schema) -> String {
                    u64::describe(schema)
                }
                unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
                    Ok(())
                }
            }
        )*
    };
}

mod api;
mod faults;
mod model;
mod persisted;
mod shapes;

use super::node::{At, Node, Shape, Shared};
use super::{PBTreeMap, PBTreeSet};
use crate::Heap;
use crate::base::{Error, ErrorKind, Result};
use crate::typed::access::notes_ptr;
use crate::typed::{CollectIn, PString, PVec, Persist, Schema, Walker};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

thread_local! {
    /// How many more allocations of nodes succeed.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(u64::MAX) };
    /// How many more comparisons of `Key`s do not panic.
    static COMPARISONS: Cell<u64> = const { Cell::new(u64::MAX) };
    /// The `Counted` that are alive, and the next one's number.
    static ALIVE: RefCell<(HashSet<u64>, u64)> = RefCell::default();
    /// How many more `Counted` are dropped without a panic.
    static DROPS: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Counts down, and says whether the end was reached: then it goes on without one.
fn count_down(what: &'static std::thread::LocalKey<Cell<u64>>) -> bool {
    let left = what.get();
    what.set(if left == 0 { u64::MAX } else { left - u64::from(left < u64::MAX) });
    left == 0
}

pub fn may_allocate() -> Result<()> {
    if count_down(&ALLOCATIONS) { Err(Error::new(ErrorKind::OutOfMemory, "told to fail")) } else { Ok(()) }
}

as_number!(Key Counted);

/// Panics when it is compared, if that is asked for.
#[repr(transparent)]
#[derive(PartialEq, Eq, Clone, Copy, Debug)]
struct Key(u64);

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(!count_down(&COMPARISONS), "this comparison was told to panic");
        self.0.cmp(&other.0)
    }
}

/// Is dropped once.
#[repr(transparent)]
#[derive(Debug)]
struct Counted(u64);

impl Counted {
    fn new() -> Self {
        ALIVE.with_borrow_mut(|(alive, next)| {
            *next += 1;
            alive.insert(*next);
            Self(*next)
        })
    }

    fn alive() -> usize {
        ALIVE.with_borrow(|(alive, _)| alive.len())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let was_alive = ALIVE.with_borrow_mut(|(alive, _)| alive.remove(&self.0));
        assert!(was_alive, "{} is dropped twice", self.0);
        assert!(!count_down(&DROPS), "this drop was told to panic");
    }
}

#[cfg(any(miri, strewn_twin))]
fn place() -> ((), PathBuf) {
    // The twin's files are those of all tests.
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    ((), PathBuf::from(format!("/btree-{}.heap", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))))
}

#[cfg(not(any(miri, strewn_twin)))]
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("btree.heap");
    (dir, path)
}

/// Calls `work` with a section of a new heap, and looks whether all that it made was freed.
fn in_heap(work: impl FnOnce(&crate::Section<'_>)) {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    work(&heap.enter());
    assert_eq!(Counted::alive(), 0);
    heap.check();
    heap.checkpoint().unwrap();
    assert_eq!(heap.stats().unwrap().live_objects, 0);
}

/// Fewer where Miri does it.
fn some(count: u64) -> u64 {
    if cfg!(miri) { count.isqrt() } else { count }
}

fn panics<R>(work: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

impl<K: Persist + Ord, V: Persist> PBTreeMap<'_, K, V> {
    /// Looks whether B2 holds, the keys are in order, from both ends, and the length is right.
    fn check(&self) {
        fn check_node<K: Persist, V: Persist>(node: Shared<'_, K, V>, is_root: bool, is_last: bool) -> u64 {
            let At { addr, level } = node.at();
            // SAFETY: a node of a tree that is borrowed.
            assert_eq!(level, unsafe { (*notes_ptr::<Node<K, V>>(addr, Shape::<K, V>::layout(level))).level });
            let least = match (is_root, is_last) {
                (true, _) => usize::from(level > 0),
                (_, true) => 1,
                _ => Shape::<K, V>::MIN,
            };
            assert!((least..=Shape::<K, V>::CAPACITY).contains(&node.len()), "{} values, level {level}", node.len());
            let edges = if level > 0 { 0..node.len() + 1 } else { 0..0 };
            let below = edges.map(|index| check_node(node.child(index), false, is_last && index == node.len()));
            node.len() as u64 + below.sum::<u64>()
        }
        assert_eq!(self.root().map_or(0, |root| check_node(root, true, true)), self.len);
        assert!(self.keys().is_sorted_by(|a, b| a < b) && self.keys().rev().is_sorted_by(|a, b| a > b));
        assert_eq!((self.iter().by_ref().count(), self.iter().rev().count()), (self.len(), self.len()));
    }
}
