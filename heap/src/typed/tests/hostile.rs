//! [`HeapOptions::verify`](crate::HeapOptions::verify): heaps whose checksums are good and whose values are not. What is wrong is written into objects by hand.

use super::{place, reopen};
use crate::base::ErrorKind;
use crate::typed::*;
use crate::{Heap, Result, Section};
use std::alloc::Layout;
use std::mem::offset_of;

/// One field of each kind that can be wrong. What a derive would write.
#[repr(C)]
struct Victim<'s> {
    flag: bool,
    letter: char,
    number: Option<u64>,
    odd: Option<PBox<'s, [u64; 8]>>,
    list: PVec<'s, PBox<'s, u64>>,
    text: PString<'s>,
    shared: PArc<'s, u64>,
}

// SAFETY: all fields are described and walked, and none can be changed through a shared reference.
unsafe impl Persist for Victim<'_> {
    type In<'s> = Victim<'s>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Victim", 1, &[], |fields| {
            fields.field::<bool>("flag", offset_of!(Self, flag));
            fields.field::<char>("letter", offset_of!(Self, letter));
            fields.field::<Option<u64>>("number", offset_of!(Self, number));
            fields.field::<Option<PBox<'_, [u64; 8]>>>("odd", offset_of!(Self, odd));
            fields.field::<PVec<'_, PBox<'_, u64>>>("list", offset_of!(Self, list));
            fields.field::<PString<'_>>("text", offset_of!(Self, text));
            fields.field::<PArc<'_, u64>>("shared", offset_of!(Self, shared));
        })
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the fields lie within, and what holds for the whole holds for them.
        unsafe {
            walker.field("flag");
            Persist::walk(&raw mut (*this).flag, walker)?;
            walker.field("letter");
            Persist::walk(&raw mut (*this).letter, walker)?;
            walker.field("number");
            Persist::walk(&raw mut (*this).number, walker)?;
            walker.field("odd");
            Persist::walk(&raw mut (*this).odd, walker)?;
            walker.field("list");
            Persist::walk(&raw mut (*this).list, walker)?;
            walker.field("text");
            Persist::walk(&raw mut (*this).text, walker)?;
            walker.field("shared");
            Persist::walk(&raw mut (*this).shared, walker)
        }
    }
}

/// Places in the heap that a pointer can lead to.
struct Places {
    victim: u64,
    small: u64,
    freed: u64,
    run: u64,
    list: u64,
    shared: u64,
    text: u64,
}

fn raw(section: &Section<'_>, bytes: usize) -> u64 {
    section.alloc_address(Layout::from_size_align(bytes, 16).unwrap()).unwrap()
}

/// A heap with a victim, changed by `damage`, which gets pointers to write through.
fn damaged(heap: &Heap, damage: impl FnOnce(&Places)) {
    heap.root::<Victim>("victim", |section| {
        Ok(Victim {
            flag: true,
            letter: 'x',
            number: Some(1),
            odd: Some(PBox::new_in([7; 8], section)),
            list: (0..4).map(|n| PBox::new_in(n, section)).collect_in(section),
            text: PString::from_str_in("text", section),
            shared: PArc::new_in(1, section),
        })
    })
    .unwrap();
    let section = heap.enter();
    let root = heap.find_root::<Victim>("victim").unwrap().unwrap();
    let victim = root.write(&section).unwrap();
    let places = Places {
        victim: heap.engine().allocator.address_of((&raw const *victim).cast_mut().cast()),
        small: raw(&section, 16),
        freed: raw(&section, 64),
        run: raw(&section, 5000),
        list: victim.list.address().unwrap(),
        shared: PArc::address(&victim.shared),
        text: victim.text.as_bytes().as_ptr() as u64,
    };
    section.free_address(places.freed);
    drop(victim);
    damage(&places);
}

/// Writes `value` at `addr`.
fn put<T>(addr: u64, value: T) {
    // SAFETY: the tests write within objects that they allocated, through the lane in which they found them; nobody else uses the heap.
    unsafe { crate::sys::ptr(addr).cast::<T>().write_unaligned(value) };
}

/// What a heap with this damage is refused with.
fn refused(damage: impl FnOnce(&Places)) -> (String, u64) {
    let (_dir, path) = place();
    // Addresses are taken of references, which are those of the objects in this mode only.
    let heap = Heap::options().writes(crate::Writes::Hardware).create(&path).unwrap();
    let mut object = 0;
    damaged(&heap, |places| {
        object = places.victim;
        damage(places);
    });
    heap.checkpoint().unwrap();
    drop(heap);
    let strict = Heap::options().verify(true);
    let messages = [0, 1].map(|_| {
        let heap = reopen(&strict, &path);
        let e = heap.find_root::<Victim>("victim").err().expect("the damage is to be found");
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
        assert_eq!(heap.root::<Victim>("victim", |_| panic!("it is there")).err().unwrap().to_string(), e.to_string());
        // Only this root is refused.
        heap.root::<u64>("other", |_| Ok(1)).unwrap();
        e.to_string()
    });
    assert_eq!(messages[0], messages[1], "refusing changes nothing");
    let heap = reopen(&Heap::options(), &path);
    assert!(heap.find_root::<Victim>("victim").unwrap().is_some(), "it opens as before where nobody looks");
    drop(heap);
    #[cfg(not(any(miri, strewn_twin)))]
    crate::check(&path).unwrap();
    let [message, _] = messages;
    assert!(message.contains("root `victim`") && message.contains(path.to_str().unwrap()), "{message}");
    (message, object)
}

/// Asserts that `damage` is refused because of `field` of the victim, for the reason `why`.
fn refuses(field: &str, why: &str, damage: impl FnOnce(&Places)) {
    let (message, object) = refused(damage);
    let place = format!("Victim<'_>: object at {object:#x}, field `{field}`: ");
    assert!(message.contains(&place) && message.contains(why), "`{message}` does not say `{place}` and `{why}`");
}

const ODD: u64 = offset_of!(Victim, odd) as u64;
const LIST: u64 = offset_of!(Victim, list) as u64;
const TEXT: u64 = offset_of!(Victim, text) as u64;

#[test]
fn bytes_that_no_value_has_are_refused() {
    refuses("flag", "0x2 is no bool", |at| put(at.victim + offset_of!(Victim, flag) as u64, 2u8));
    refuses("letter", "0xd800 is no char", |at| put(at.victim + offset_of!(Victim, letter) as u64, 0xD800u32));
    refuses("number", "a tag of 0x100000001 is no", |at| {
        put(at.victim + offset_of!(Victim, number) as u64, 0x1_0000_0001u64);
    });
    refuses("text", "text with invalid utf-8 sequence", |at| put(at.text, 0xFFu8));
    let (message, _) = refused(|at| put(at.shared, 0u64));
    assert!(message.contains("Counted<u64>: object at") && message.contains("a count of 0"), "{message}");
}

#[test]
fn pointers_that_lead_to_no_such_object_are_refused() {
    refuses("odd", "0x123456780 is no object of this heap", |at| put(at.victim + ODD, 0x1_2345_6780u64));
    refuses("odd", "is no object of this heap", |at| put(at.victim + ODD, u64::MAX - 7));
    refuses("odd", "is no object of this heap", |at| put(at.victim + ODD, at.list + 8));
    refuses("odd", "is no object of this heap", |at| put(at.victim + ODD, at.freed));
    refuses("odd", "is not aligned for", |at| put(at.victim + ODD, at.small + 1));
    refuses("odd", "has 16 bytes, too few for 1 of [u64; 8] in 64", |at| put(at.victim + ODD, at.small));
    refuses("odd", "is a page run, where 64 bytes of [u64; 8] are not", |at| put(at.victim + ODD, at.run));
}

#[test]
fn objects_with_two_owners_are_refused() {
    refuses("odd", "is owned twice, as ", |at| put(at.victim + ODD, at.victim));
    let (message, _) = refused(|at| put(at.list, at.shared));
    assert!(message.contains("is owned twice, as strewn::typed::parc::Counted<u64> and as u64"), "{message}");
    let (message, _) = refused(|at| {
        // SAFETY: the first word of the list, which is a box.
        let first = unsafe { crate::sys::ptr(at.list).cast::<u64>().read() };
        put(at.list + 8, first);
    });
    assert!(message.contains("is owned twice, as u64 and as u64"), "{message}");
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    refuses("list", "length 5000 with a capacity of ", |at| put(at.victim + LIST + 8, 5000u64));
    refuses("list", "a capacity of 2305843009213693953", |at| {
        put(at.victim + LIST + 16, (1u64 << 61) + 1);
    });
    refuses("list", "too few for 4 of ", |at| put(at.victim + LIST + 16, 1u64 << 40));
    refuses("text", "length 9 with a capacity of 0", |at| {
        put(at.victim + TEXT + 8, 9u64);
        put(at.victim + TEXT + 16, 0u64);
    });
    refuses("text", "too few for ", |at| {
        put(at.victim + TEXT + 8, u64::MAX);
        put(at.victim + TEXT + 16, u64::MAX);
    });
}

/// A list, as long as can be.
#[repr(C)]
struct Link<'s> {
    next: Option<PBox<'s, Link<'s>>>,
}

// SAFETY: its only field is described and walked.
unsafe impl Persist for Link<'_> {
    type In<'s> = Link<'s>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Link", 1, &[], |fields| fields.field::<Option<PBox<'_, Link<'_>>>>("next", 0))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the field lies within.
        unsafe { Persist::walk(&raw mut (*this).next, walker) }
    }
}

#[test]
fn a_walk_needs_no_stack_and_ends() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    let links = if cfg!(miri) { 20 } else { 100_000 };
    let root = heap.root::<Link>("list", |_| Ok(Link { next: None })).unwrap();
    for _ in 0..links {
        let section = heap.enter();
        let mut first = root.write(&section).unwrap();
        let next = first.next.take();
        first.next = Some(PBox::new_in(Link { next }, &section));
    }
    heap.checkpoint().unwrap();
    drop(heap);
    // 64 KiB of stack, less than a byte for each object.
    let walk = move || {
        let heap = reopen(&Heap::options().verify(true), &path);
        assert!(heap.find_root::<Link>("list").unwrap().is_some());
        assert_eq!(heap.leaks().unwrap().reached, links + 1);
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(walk).unwrap().join().unwrap();
}

/// Says that it owns as many values without a size as there are numbers.
struct Countless {
    addr: u64,
}

// SAFETY: one number, which can be any.
unsafe impl Persist for Countless {
    type In<'s> = Countless;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Countless", 1, &[], |fields| fields.field::<u64>("addr", 0))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: one number, readable.
        walker.owns::<[PBox<'_, u64>; 0]>(unsafe { (*this).addr }, usize::MAX, 0)
    }
}

#[test]
fn values_without_a_size_are_one() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    heap.root::<Countless>("countless", |section| Ok(Countless { addr: raw(section, 16) })).unwrap();
    assert_eq!(heap.leaks().unwrap().objects, []);
}
