//! Roots that are found one after the other, and what the walk of one knows from that of another.

use super::{place, reopen};
use crate::base::{ErrorKind, Result};
use crate::typed::*;
use crate::{Heap, Section};
use std::alloc::Layout;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

type Pair<'s> = (PBox<'s, u64>, Option<PArc<'s, u64>>);

/// Writes `value` at `addr`.
fn put(addr: u64, value: u64) {
    // SAFETY: the tests write within objects that they allocated, through their own lane; nobody else uses the heap.
    unsafe { crate::sys::ptr(addr).cast::<u64>().write(value) };
}

/// A heap with two roots, whose second halves are one object, changed by `damage`, which gets the two and a free slot of 64 bytes.
fn two_roots(damage: impl FnOnce(&mut Pair<'_>, &mut Pair<'_>, u64)) -> (impl Sized, std::path::PathBuf) {
    let (dir, path) = place();
    let heap = Heap::options().writes(crate::Writes::Hardware).create(&path).unwrap();
    {
        let [one, other] =
            ["one", "other"].map(|name| heap.root::<Pair>(name, |s| Ok((PBox::new_in(1, s), None))).unwrap());
        let section = heap.enter();
        let (mut one, mut other) = (one.write(&section).unwrap(), other.write(&section).unwrap());
        let shared = PArc::new_in(5, &section);
        (one.1, other.1) = (Some(shared.clone()), Some(shared));
        let free = section.alloc_address(Layout::new::<[u64; 8]>()).unwrap();
        section.free_address(free);
        damage(&mut one, &mut other, free);
    }
    heap.checkpoint().unwrap();
    (dir, path)
}

/// Asserts that after `damage` the first root is found, and then the second refused for the reason `why`; between the two, `meanwhile` happens.
fn refuses(why: &str, damage: impl FnOnce(&mut Pair<'_>, &mut Pair<'_>, u64), meanwhile: impl Fn(&Section<'_>)) {
    let (_dir, path) = two_roots(damage);
    let heap = reopen(&Heap::options().verify(true), &path);
    let section = heap.enter();
    heap.find_root::<Pair>("one").unwrap().unwrap();
    meanwhile(&section);
    for _ in 0..2 {
        let e = heap.find_root::<Pair>("other").err().expect("the damage is to be found");
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        assert!(e.to_string().contains("root `other`") && e.to_string().contains(why), "{e}");
    }
}

/// Makes `to` own what `from` owns.
fn steal(from: &Pair<'_>, to: &mut Pair<'_>) {
    put((&raw mut to.0) as u64, PBox::address(&from.0));
}

#[test]
fn what_another_root_owns_is_refused() {
    refuses("another root owns it", |one, other, _| steal(one, other), |_| {});
}

#[test]
fn what_was_free_is_refused_though_it_is_allocated_since() {
    let owned = AtomicU64::new(0);
    let damage = |_: &mut Pair<'_>, other: &mut Pair<'_>, free| {
        put((&raw mut other.0) as u64, free);
        owned.store(free, Ordering::Relaxed);
    };
    refuses("was free when the heap was opened", damage, |section| {
        let layout = Layout::new::<[u64; 8]>();
        let mut allocated = std::iter::repeat_with(|| section.alloc_address(layout).unwrap()).take(10_000);
        assert!(allocated.any(|addr| addr == owned.load(Ordering::Relaxed)), "the slot is to be allocated again");
    });
}

#[test]
fn shared_objects_that_count_too_few_owners_are_refused() {
    let damage = |_: &mut Pair<'_>, other: &mut Pair<'_>, _| put(PArc::address(other.1.as_ref().unwrap()), 1);
    refuses("has 1 owners, more than the 0 that it counts", damage, |_| {});
    let (_dir, path) = two_roots(|_, _, _| {});
    let heap = reopen(&Heap::options().verify(true), &path);
    assert!(heap.find_root::<Pair>("one").unwrap().is_some() && heap.find_root::<Pair>("other").unwrap().is_some());
    assert_eq!(heap.leaks().unwrap().miscounted, []);
}

#[test]
fn what_is_empty_and_of_another_heap_is_refused() {
    type Empties<'s> = (PVec<'s, u64>, PHashMap<'s, u64, u64>, PBTreeMap<'s, u64, u64>);
    let words = size_of::<Empties>() / 8;
    let mut refused = 0;
    for word in 0..words {
        let (_dir, path) = place();
        let heap = Heap::options().writes(crate::Writes::Hardware).create(&path).unwrap();
        let tag = heap.engine().tag();
        let root =
            heap.root::<Empties>("r", |s| Ok((PVec::new_in(s), PHashMap::new_in(s), PBTreeMap::new_in(s)))).unwrap();
        {
            let section = heap.enter();
            let mut empties = root.write(&section).unwrap();
            let word = (&raw mut *empties).cast::<u64>().wrapping_add(word);
            // SAFETY: within the value, which is borrowed uniquely; its seeds and padding are read too, as plain bytes that were written.
            let is_tag = unsafe { word.read() } == tag;
            if !is_tag {
                continue;
            }
            put(word as u64, tag ^ 0x5A5A_0000);
        }
        drop(root);
        heap.checkpoint().unwrap();
        drop(heap);
        let e = reopen(&Heap::options().verify(true), &path).find_root::<Empties>("r").err().unwrap();
        assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("belongs to heap 0x"), "{e}");
        refused += 1;
    }
    assert_eq!(refused, 3, "an array, a table, a tree");
}

#[test]
fn a_root_whose_preparation_fails_can_be_prepared_again() {
    static FAILS: AtomicBool = AtomicBool::new(true);
    #[repr(C)]
    struct Made<'s> {
        owned: PBox<'s, u64>,
        shared: PArc<'s, u64>,
        made: u64,
    }
    // SAFETY: all fields are described and walked.
    unsafe impl Persist for Made<'_> {
        type In<'s> = Made<'s>;
        const INTERIOR: bool = false;
        fn describe(schema: &mut Schema) -> String {
            schema.define::<Self>("Made", 1, &[], |fields| {
                fields.field::<PBox<'_, u64>>("owned", offset_of!(Self, owned));
                fields.field::<PArc<'_, u64>>("shared", offset_of!(Self, shared));
                fields.rebuilt::<u64>("made", offset_of!(Self, made));
            })
        }
        unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
            // SAFETY: the fields lie within.
            unsafe {
                Persist::walk(&raw mut (*this).owned, walker)?;
                Persist::walk(&raw mut (*this).shared, walker)?;
                let make = || if FAILS.swap(false, Ordering::Relaxed) { panic!("not now") } else { 5 };
                walker.rebuild(&raw mut (*this).made, make);
            }
            Ok(())
        }
    }
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<Made>("made", |s| Ok(Made { owned: PBox::new_in(1, s), shared: PArc::new_in(2, s), made: 0 })).unwrap();
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options().verify(true).on_panic(crate::OnPanic::Accept), &path);
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| heap.find_root::<Made>("made").map(|_| ())));
    assert!(first.is_err(), "it panics");
    let root = heap.find_root::<Made>("made").unwrap().unwrap();
    let section = heap.enter();
    let made = root.read(&section).unwrap();
    assert_eq!((*made.owned, *made.shared, PArc::strong_count(&made.shared), made.made), (1, 2, 1, 5));
}

/// How often values of [`Watched`] were walked.
static WALKED: AtomicU64 = AtomicU64::new(0);
/// The heap that [`make`] looks for a root in, and what it is told.
static HEAP: Mutex<Option<Arc<Heap>>> = Mutex::new(None);
static TOLD: Mutex<Option<String>> = Mutex::new(None);

struct Watched {
    _number: u64,
}

// SAFETY: a number.
unsafe impl Persist for Watched {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Watched", 1, &[], |fields| fields.field::<u64>("number", 0))
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        WALKED.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A number that is made anew beside what others share.
#[repr(C)]
struct Cached<'s> {
    shared: PArc<'s, Watched>,
    made: u64,
}

fn make() -> u64 {
    if let Some(heap) = HEAP.lock().unwrap().clone() {
        *TOLD.lock().unwrap() = heap.find_root::<u64>("number").err().map(|e| e.to_string());
    }
    7
}

// SAFETY: both fields are described and walked.
unsafe impl Persist for Cached<'_> {
    type In<'s> = Cached<'s>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Cached", 1, &[], |fields| {
            fields.field::<PArc<'_, Watched>>("shared", offset_of!(Self, shared));
            fields.rebuilt::<u64>("made", offset_of!(Self, made));
        })
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the fields lie within.
        unsafe {
            Persist::walk(&raw mut (*this).shared, walker)?;
            walker.rebuild(&raw mut (*this).made, make);
        }
        Ok(())
    }
}

#[test]
fn making_anew_leaves_alone_what_has_nothing_to_be_made_and_looks_for_no_roots() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<u64>("number", |_| Ok(1)).unwrap();
    heap.root::<Cached>("cached", |s| Ok(Cached { shared: PArc::new_in(Watched { _number: 1 }, s), made: 0 })).unwrap();
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = Arc::new(reopen(&Heap::options(), &path));
    *HEAP.lock().unwrap() = Some(heap.clone());
    let root = heap.find_root::<Cached>("cached").unwrap().unwrap();
    assert_eq!(root.read(&heap.enter()).unwrap().made, 7);
    assert_eq!(WALKED.load(Ordering::Relaxed), 0);
    // Not longer: other tests' heaps may belong where it is.
    *HEAP.lock().unwrap() = None;
    let told = TOLD.lock().unwrap().take().expect("it was called, and refused");
    assert!(told.contains("cannot be looked for") && told.contains(path.to_str().unwrap()), "{told}");
    assert!(heap.find_root::<u64>("number").unwrap().is_some(), "afterwards it can");
    assert_eq!(heap.leaks().unwrap().reached, 3);
    assert_eq!(WALKED.load(Ordering::Relaxed), 1, "looking for leaks walks everything");
}
