//! Leaks of every kind are found, freed, and gone from the next checkpoint; nothing else is.

use super::*;
use crate::typed::tests::{place, reopen};
use crate::{CollectIn, HeapOptions, PArc, PBox, PMutex, PString, PVec, Persist, Section};
use std::alloc::Layout;
use std::mem::offset_of;

/// A node of a circle. What a derive would write.
#[repr(C)]
struct Node<'s> {
    next: PMutex<Option<PArc<'s, Node<'s>>>>,
    name: PString<'s>,
}

// SAFETY: all fields are described and walked; a lock can be changed through a shared reference.
unsafe impl Persist for Node<'_> {
    type In<'s> = Node<'s>;
    const INTERIOR: bool = true;
    fn describe(schema: &mut crate::typed::Schema) -> String {
        schema.define::<Self>("Node", 1, &[], |fields| {
            fields.field::<PMutex<Option<PArc<'_, Node<'_>>>>>("next", offset_of!(Self, next));
            fields.field::<PString<'_>>("name", offset_of!(Self, name));
        })
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the fields lie within.
        unsafe {
            Persist::walk(&raw mut (*this).next, walker)?;
            Persist::walk(&raw mut (*this).name, walker)
        }
    }
}

fn node<'s>(name: &str, section: &'s Section<'_>) -> PArc<'s, Node<'s>> {
    PArc::new_in(Node { next: PMutex::new(None), name: PString::from_str_in(name, section) }, section)
}

/// Adds a circle of `nodes` nodes that nobody owns.
fn circle(heap: &Heap, nodes: usize) {
    let section = heap.enter();
    let all: Vec<_> = (0..nodes).map(|i| node(&i.to_string(), &section)).collect();
    for i in 0..nodes {
        *all[i].next.lock() = Some(all[(i + 1) % nodes].clone());
    }
}

type Kept<'s> = (PVec<'s, PString<'s>>, PArc<'s, u64>, PVec<'s, u64>);

fn kept<'s>(section: &'s Section<'_>) -> Result<Kept<'s>> {
    let words = ["some", "words"].map(|word| PString::from_str_in(word, section));
    let large = (0..1000).collect_in(section);
    Ok((words.into_iter().collect_in(section), PArc::new_in(5, section), large))
}

fn check_kept(heap: &Heap) {
    let root = heap.find_root::<Kept>("kept").unwrap().unwrap();
    let section = heap.enter();
    let kept = root.read(&section).unwrap();
    assert!(kept.0.iter().eq(["some", "words"]));
    assert!(*kept.1 == 5 && kept.2.iter().copied().eq(0..1000));
}

/// Frees what is leaked.
fn collect(heap: &Heap) -> LeakReport {
    heap.collect().unwrap()
}

fn tracing() -> HeapOptions {
    Heap::options().trace_types(true)
}

#[test]
fn what_no_root_reaches_is_found_by_type_and_freed_for_good() {
    let (_dir, path) = place();
    let heap = tracing().create(&path).unwrap();
    heap.root::<Kept>("kept", kept).unwrap();
    let whole = heap.leaks().unwrap();
    // The root, the array, two texts, the shared number, the numbers.
    assert_eq!(whole, LeakReport { reached: 6, ..LeakReport::default() });
    circle(&heap, 3);
    {
        let section = heap.enter();
        *PBox::leak(PBox::new_in([1u64; 4], &section)) = [2; 4];
        std::mem::forget(PVec::<u32>::with_capacity_in(2000, &section));
        section.alloc(Layout::new::<u8>()).unwrap();
    }
    let report = heap.leaks().unwrap();
    let found = |name: &str| report.objects.iter().filter(|leak| leak.type_name.contains(name)).count();
    assert_eq!((report.objects.len(), report.reached), (9, 6), "{report}");
    assert_eq!((found("Node"), found("[u8]"), found("[u64; 4]"), found("[u32]"), found(UNKNOWN)), (3, 3, 1, 1, 1));
    assert_eq!((report.sums[0].type_name, report.sums[0].bytes, report.sums[0].objects), ("[u32]", 8192, 1));
    assert_eq!(report.bytes(), report.sums.iter().map(|sum| sum.bytes as u64 * sum.objects).sum::<u64>());
    assert_eq!(heap.leaks().unwrap(), report, "looking changes nothing");
    heap.checkpoint().unwrap();
    drop(heap);
    // In another process nobody knows the types, but that they are leaked.
    let heap = reopen(&tracing(), &path);
    assert!(heap.find_root::<Kept>("kept").unwrap().is_some());
    let same = heap.leaks().unwrap();
    assert!(same.objects.iter().all(|leak| leak.type_name == UNKNOWN));
    let places = |report: &LeakReport| report.objects.iter().map(|leak| (leak.address, leak.bytes)).collect::<Vec<_>>();
    assert_eq!((places(&same), same.reached), (places(&report), 6));
    assert_eq!(collect(&heap), same);
    assert_eq!(heap.leaks().unwrap(), whole);
    heap.check();
    heap.checkpoint().unwrap();
    drop(heap);
    #[cfg(not(any(miri, strewn_twin)))]
    assert_eq!(crate::check(&path).unwrap().live_objects, 6);
    let heap = reopen(&Heap::options().verify(true), &path);
    check_kept(&heap);
    assert_eq!(heap.leaks().unwrap(), whole);
}

#[test]
fn an_owner_that_was_lost_is_counted_no_more() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let root = heap.root::<Kept>("kept", kept).unwrap();
    heap.checkpoint().unwrap();
    {
        let section = heap.enter();
        let kept = root.read(&section).unwrap();
        std::mem::forget([kept.1.clone(), kept.1.clone()]);
        // One that a leaked object owns.
        std::mem::forget(PBox::new_in(kept.1.clone(), &section));
    }
    let report = heap.leaks().unwrap();
    let [Miscount { counted: 4, owners: 1, .. }] = report.miscounted[..] else { panic!("{report}") };
    assert_eq!(report.objects.len(), 1);
    assert!(report.to_string().contains("counts 4 owners and has 1"), "{report}");
    assert_eq!(collect(&heap), report);
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    let root = heap.find_root::<Kept>("kept").unwrap().unwrap();
    {
        let section = heap.enter();
        let mut kept = root.write(&section).unwrap();
        assert_eq!(PArc::strong_count(&kept.1), 1);
        *PArc::get_mut(&mut kept.1).unwrap() = 6;
    }
    assert_eq!(heap.leaks().unwrap(), LeakReport { reached: 6, ..LeakReport::default() });
}

#[test]
fn a_root_that_was_not_found_is_named_and_nothing_is_freed() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<Kept>("kept", kept).unwrap();
    heap.root::<u64>("other", |_| Ok(1)).unwrap();
    circle(&heap, 2);
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    heap.find_root::<u64>("other").unwrap().unwrap();
    for refused in [heap.leaks(), heap.collect()] {
        let e = refused.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::RootType);
        assert!(e.to_string().contains("root `kept` was not found by this process"), "{e}");
    }
    check_kept(&heap);
    assert_eq!(heap.leaks().unwrap().objects.len(), 4);
    let section = heap.enter();
    assert_eq!(heap.leaks().unwrap_err().kind(), ErrorKind::InSection);
    drop(section);
}

#[test]
fn what_lies_in_caches_of_threads_is_no_leak() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<Kept>("kept", kept).unwrap();
    let work = || {
        let section = heap.enter();
        for i in 0..100 {
            drop([PBox::new_in([i; 1], &section), PBox::new_in([i; 1], &section)]);
            drop(PVec::from_slice_in(&[i; 30], &section));
        }
    };
    work();
    let (done, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            work();
            done.wait();
            wait.wait();
        });
        done.wait();
        // Its thread lives, and its cache is full.
        let report = heap.leaks();
        wait.wait();
        assert_eq!(report.unwrap().objects, []);
    });
    // Now it has ended.
    assert_eq!(collect(&heap), LeakReport { reached: 6, ..LeakReport::default() });
    heap.check();
}

/// Owns memory got by hand.
struct Buffer {
    addr: u64,
    bytes: u64,
}

// SAFETY: two numbers; the memory is named to the walker.
unsafe impl Persist for Buffer {
    type In<'s> = Buffer;
    const INTERIOR: bool = false;
    fn describe(schema: &mut crate::typed::Schema) -> String {
        schema.define::<Self>("Buffer", 1, &[], |fields| {
            fields.field::<u64>("addr", offset_of!(Self, addr));
            fields.field::<u64>("bytes", offset_of!(Self, bytes));
        })
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: two numbers, readable.
        let (addr, bytes) = unsafe { ((*this).addr, (*this).bytes) };
        walker.owns_bytes(addr, bytes as usize)
    }
}

#[test]
fn memory_got_by_hand_stays_if_a_type_names_it() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let new = |section: &Section<'_>| {
        let bytes = section.alloc(Layout::new::<[u8; 100]>())?;
        // SAFETY: just allocated, 100 bytes.
        unsafe { bytes.write_bytes(7, 100) };
        Ok(Buffer { addr: section.engine().allocator.address_of(bytes.as_ptr()), bytes: 100 })
    };
    heap.root::<Buffer>("buffer", new).unwrap();
    heap.enter().alloc(Layout::new::<u64>()).unwrap();
    assert_eq!(collect(&heap).objects.len(), 1);
    assert_eq!(heap.leaks().unwrap(), LeakReport { reached: 2, ..LeakReport::default() });
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options().verify(true), &path);
    let root = heap.find_root::<Buffer>("buffer").unwrap().unwrap();
    let section = heap.enter();
    let buffer = root.read(&section).unwrap();
    let at = sys::ptr(buffer.addr);
    // SAFETY: 100 bytes that the root owns.
    assert!((0..100).all(|i| unsafe { at.add(i).read() } == 7));
}

/// A page run may lie where the address of a slot would have its lane.
#[cfg(not(any(miri, strewn_twin)))]
#[test]
fn arrays_beyond_the_first_gigabyte_of_page_runs_are_walked_where_they_are() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let gap = heap.enter().alloc(Layout::from_size_align(1 << 30, 4096).unwrap()).unwrap();
    heap.root::<PVec<PBox<u64>>>("far", |section| Ok((0..1000).map(|n| PBox::new_in(n, section)).collect_in(section)))
        .unwrap();
    let report = heap.leaks().unwrap();
    assert_eq!((report.objects.len(), report.reached), (1, 1002));
    let section = heap.enter();
    // SAFETY: allocated above, and not used.
    unsafe { section.dealloc(gap) };
}

#[test]
fn objects_of_a_root_that_was_prepared_may_be_freed_and_their_memory_used_by_another() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<PArc<u64>>("first", |section| Ok(PArc::new_in(1, section))).unwrap();
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = reopen(&Heap::options().verify(true), &path);
    let freed = {
        let section = heap.enter();
        let first = heap.remove_root::<PArc<u64>>("first", &section).unwrap().unwrap();
        PArc::address(&first)
    };
    heap.root::<PVec<PBox<[u8; 16]>>>("second", |section| {
        let all: PVec<_> = (0..50).map(|_| PBox::new_in([0; 16], section)).collect_in(section);
        assert!(all.iter().any(|one| PBox::address(one) == freed), "the same memory");
        Ok(all)
    })
    .unwrap();
}
