//! Maps against those of the standard library, and what is special about them in a heap.

use super::table::Shape;
use super::*;
use crate::typed::tests::{place, reopen};
use crate::typed::{Persist, Purpose, Schema, Walker};
use crate::{CollectIn, ErrorKind, Heap, PBox, PHashSet, PString, PVec, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

mod damaged;
#[cfg(not(any(miri, strewn_twin)))]
mod files;
mod model;

/// The words of a map: a tag or 0, hashbrown's five, the seed.
fn words<K, V>(map: &PHashMap<'_, K, V>) -> [u64; 7] {
    assert_eq!(size_of_val(map), 56);
    // SAFETY: seven words, initialised: a table's or zeroes, and two numbers.
    unsafe { (&raw const *map).cast::<[u64; 7]>().read() }
}

/// That there is no table, and nothing of one in memory.
fn assert_none<K, V>(map: &PHashMap<'_, K, V>) {
    let words = words(map);
    assert_ne!(words[0], 0, "the tag");
    assert_eq!(words[1..6], [0; 5], "no pointer, to a static of the program least of all");
    assert_eq!((map.len(), map.capacity()), (0, 0));
}

fn live_objects(heap: &Heap) -> u64 {
    heap.checkpoint().unwrap();
    heap.stats().unwrap().live_objects
}

#[test]
fn hashes_are_those_that_heaps_were_written_with() {
    let hash = |what: &dyn Fn(&mut PHasher)| {
        let mut hasher = PBuildHasher::with_seed(7).build_hasher();
        what(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    };
    let known = [
        hash(&|h| 0u64.hash(h)),
        hash(&|h| 1u64.hash(h)),
        hash(&|h| 1u8.hash(h)),
        hash(&|h| (-1i32).hash(h)),
        hash(&|h| (1u128 << 64).hash(h)),
        hash(&|h| "".hash(h)),
        hash(&|h| "persistent".hash(h)),
        hash(&|h| "a text that is longer than what is hashed in one step".hash(h)),
        hash(&|h| (1u32, 'x', true).hash(h)),
    ];
    assert_eq!(known, KNOWN, "{known:#x?}");
    assert_eq!(known[1], known[2], "numbers are hashed by value");
}

const KNOWN: [u64; 9] = [
    0x2fcc6da5ccbc1fcf,
    0xa4142212368d72f7,
    0xa4142212368d72f7,
    0xae4c99ffe952872a,
    0x8ad13ca056078e54,
    0x1a4fa2900a9284c3,
    0x966010151598e30e,
    0xdd3b4d30c08ed602,
    0x31b00771756483c8,
];

#[test]
fn the_format_is_that_of_the_hashbrown_that_is_asked_for() {
    let manifest = include_str!("../../../../Cargo.toml");
    let described = Shape::of_tables().describe();
    let version = described.split(['-', '/']).nth(1).unwrap();
    assert!(manifest.contains(&format!("hashbrown = {{ version = \"={version}\"")), "{described}");
    let group = if cfg!(all(target_arch = "x86_64", not(miri))) { 16 } else { 8 };
    assert!(described.contains(&format!("groups-of-{group}/")), "{described}");
    let schema = Schema::of::<PHashMap<'_, PString<'_>, u64>>().text;
    assert!(schema.contains(&described) && schema.contains("PString@0") && schema.contains("PBuildHasher"), "{schema}");
}

#[test]
fn an_empty_map_has_no_table_and_no_pointer() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let mut map = PHashMap::<u64, u64>::new_in(&section);
    assert_none(&map);
    map.clear();
    map.retain(|_, _| false);
    map.shrink_to_fit();
    map.reserve(0);
    assert_eq!((map.get(&1), map.iter().len()), (None, 0));
    assert_eq!(map.remove(&1), None);
    assert_eq!((map.values_mut().len(), map.drain().len(), map.clone().into_iter().len()), (0, 0, 0));
    assert_none(&map);
    map.insert(1, 2);
    assert_eq!(words(&map)[0], 0);
    assert!(map.capacity() >= 3);
    map.clear();
    assert_ne!(map.capacity(), 0, "cleared, the memory is kept");
    map.shrink_to_fit();
    assert_none(&map);
    map.extend([(1, 2), (3, 4)]);
    assert_eq!(map.drain().map(|(key, _)| key).sum::<u64>(), 4);
    assert_none(&map);
    map.extend([(1, 2), (3, 4)]);
    std::mem::forget(map.drain());
    assert_none(&map);
    map.extend([(1, 2), (3, 4)]);
    assert_eq!(map, [(3, 4), (1, 2)].into_iter().collect_in(&section));
}

#[test]
fn maps_are_used_as_those_of_std_are() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let text = |text: &str| PString::from_str_in(text, &section);
    let mut map = PHashMap::<PString<'_>, PVec<'_, u32>>::with_capacity_in(2, &section);
    for (at, word) in "one map of the maps of the one heap".split(' ').enumerate() {
        map.entry_ref(word, text).or_insert_with(|| PVec::new_in(&section)).push(at as u32);
    }
    assert_eq!(map.len(), 6);
    assert_eq!(map["of"], [2, 5]);
    assert_eq!(map.get_key_value("one").unwrap().1, &[0, 7]);
    assert!(map.contains_key("heap") && !map.contains_key("heaps"));
    map.get_mut("heap").unwrap().push(9);
    assert_eq!(map.insert(text("heap"), PVec::new_in(&section)).unwrap(), [8, 9]);
    assert_eq!(map.remove("heap").unwrap(), [0u32; 0]);
    assert_eq!(map.remove_entry("maps").unwrap().0, "maps");
    match map.entry(text("one")) {
        Entry::Occupied(mut entry) => {
            assert_eq!((entry.key().as_str(), entry.get().len()), ("one", 2));
            entry.get_mut().clear();
            assert_eq!(entry.remove_entry().0, "one");
        }
        Entry::Vacant(entry) => panic!("{entry:?}"),
    }
    let mut counts = PHashMap::<u64, u64>::new_in(&section);
    for i in 0..10 {
        *counts.entry(i % 3).and_modify(|n| *n += 10).or_default() += 1;
        counts.entry(i).or_insert_with_key(|key| *key);
    }
    assert_eq!((counts[&0], counts[&1], counts[&9]), (34, 23, 9));
    counts.values_mut().for_each(|n| *n *= 2);
    counts.retain(|key, n| *key < 3 && *n > 46);
    assert_eq!(format!("{counts:?}"), "{0: 68}");
    let copy = counts.clone();
    assert_eq!((copy == counts, copy.hasher()), (true, counts.hasher()));
    counts.insert(0, 1);
    assert!(copy != counts);
    assert_eq!((copy.into_keys().sum::<u64>(), counts.into_values().sum::<u64>()), (0, 1));
}

#[test]
fn shrinking_keeps_every_pair_and_frees_memory() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let count = if cfg!(miri) { 60 } else { 2000 };
    let mut map: PHashMap<u64, PBox<'_, u64>> = (0..count).map(|i| (i, PBox::new_in(i, &section))).collect_in(&section);
    map.retain(|key, _| *key < 20);
    map.shrink_to(count as usize * 10);
    map.shrink_to(22);
    map.shrink_to(100);
    assert_eq!(map.capacity(), 28, "never more");
    map.shrink_to_fit();
    assert_eq!(map.capacity(), 28);
    assert!((0..20).all(|i| *map[&i] == i) && map.len() == 20);
}

#[test]
fn what_a_map_owns_is_freed_with_it() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let before = live_objects(&heap);
    let fill_and_drop = |way| {
        let section = heap.enter();
        let key = |i: u64| PString::from_str_in(&format!("key {i}"), &section);
        let pairs = (0..30).map(|i| (key(i), PBox::new_in(i, &section)));
        let mut map: PHashMap<PString<'_>, PBox<'_, u64>> = pairs.collect_in(&section);
        let mut outer = PHashMap::<u64, PHashMap<'_, u64, PHashSet<'_, u64>>>::new_in(&section);
        for i in 0..20 {
            let inner = outer.entry(i % 4).or_insert_with(|| PHashMap::new_in(&section));
            inner.entry(i % 3).or_insert_with(|| PHashSet::new_in(&section)).insert(i);
        }
        match way {
            0 => drop(map),
            1 => drop(map.into_iter().nth(7)),
            2 => drop(map.drain().nth(7)),
            3 => map.clear(),
            4 => map.retain(|key, _| key.ends_with('7')),
            _ => drop((map.clone(), map.insert(key(5), PBox::new_in(5, &section)), map.remove("key 9"))),
        }
    };
    for way in 0..6 {
        fill_and_drop(way);
        assert_eq!(live_objects(&heap), before, "way {way}");
    }
}

#[test]
fn what_cannot_be_allocated_leaves_the_map_as_it_was() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let mut map: PHashMap<u64, u64> = (0..5).map(|i| (i, i)).collect_in(&section);
    let kind = |result: Result<()>| result.expect_err("more than there is").kind();
    assert_eq!(kind(map.try_reserve(1 << 40)), ErrorKind::HeapFull);
    assert_eq!(kind(map.try_reserve(usize::MAX)), ErrorKind::InvalidArgument);
    let panic = catch_unwind(AssertUnwindSafe(|| map.reserve(1 << 40))).expect_err("the heap is full");
    assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("larger than a zone")), "{panic:?}");
    let mut none = PHashMap::<u64, u64>::new_in(&section);
    assert_eq!(kind(none.try_reserve(1 << 40)), ErrorKind::HeapFull);
    assert_none(&none);
    assert!(PHashMap::<u64, u64>::try_with_capacity_in(1 << 40, &section).is_err());
    assert!((0..5).all(|i| map[&i] == i) && map.len() == 5);
}

#[test]
fn a_map_does_not_grow_in_a_section_of_another_heap_or_in_none() {
    let ((_dir, path), (_other_dir, other_path)) = (place(), place());
    let heap = Heap::create(path).unwrap();
    let other = Heap::create(other_path.with_extension("other")).unwrap();
    grow_elsewhere(&heap, &other);
    heap.check();
    other.check();
    assert_eq!((live_objects(&heap), live_objects(&other)), (0, 0));
}

fn grow_elsewhere(heap: &Heap, other: &Heap) {
    let section = heap.enter();
    let mut map: PHashMap<u64, u64> = [(0, 0)].into_iter().collect_in(&section);
    let mut none = PHashMap::<u64, u64>::new_in(&section);
    let room = map.capacity() as u64;
    std::thread::scope(|scope| {
        let work = || {
            let refused =
                |result: Result<Option<u64>>| result.expect_err("another heap").kind() == ErrorKind::NotInSection;
            let foreign = other.enter();
            (1..room).for_each(|i| _ = map.insert(i, i));
            assert!(refused(map.try_insert(room, 0)) && refused(none.try_insert(1, 1)));
            assert_eq!(map.try_insert(0, 7).unwrap(), Some(0), "a value that is there can be replaced");
            assert!(map.try_shrink_to(0).is_err() || map.capacity() as u64 == room);
            drop(foreign);
            assert!(refused(map.try_insert(room, 0)) && refused(none.try_insert(1, 1)));
            drop(map.drain());
            assert_none(&map);
            assert!(refused(map.try_insert(1, 1)), "a map without a table still knows its heap");
        };
        scope.spawn(work);
    });
    map.insert(1, 1);
    none.insert(1, 1);
    assert_eq!(map, none);
}

thread_local! {
    /// After so many calls, `Hash` of a `Touchy` panics.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
    /// How many `Touchy` there are.
    static THERE: Cell<i64> = const { Cell::new(0) };
}

/// A key whose `Hash` panics now and then.
struct Touchy(u64);

impl Touchy {
    fn new(number: u64) -> Self {
        THERE.set(THERE.get() + 1);
        Self(number)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        THERE.set(THERE.get() - 1);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Hash for Touchy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match FUSE.get().checked_sub(1) {
            Some(left) => FUSE.set(left),
            // Without the message that a panic prints.
            None => resume_unwind(Box::new("the fuse has blown")),
        }
        self.0.hash(state);
    }
}

// SAFETY: a number.
unsafe impl Persist for Touchy {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        "Touchy".to_owned()
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

/// What a walk, as a checked open makes it, says of `value`; and the value again.
fn walked<T: Persist>(value: T, heap: &Heap) -> (Result<()>, T) {
    let section = heap.enter();
    let boxed = PBox::new_in(value, &section);
    // SAFETY: an object that nobody else uses.
    let said = unsafe { Walker::new(heap.engine(), Purpose::Trace).root::<T>(PBox::address(&boxed)) };
    (said, PBox::into_inner(boxed))
}

#[test]
fn a_panic_at_any_call_of_hash_leaves_a_map_that_can_be_stored() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let most = if cfg!(miri) { 30 } else { 200 };
    for fuse in 0..most {
        let section = heap.enter();
        let mut map = PHashMap::<Touchy, u64>::new_in(&section);
        FUSE.set(fuse);
        // Growing, and then moving in place what is left of many removals.
        let work = |map: &mut PHashMap<'_, Touchy, u64>| {
            (0..14).for_each(|i| _ = map.insert(Touchy::new(i), i));
            (14..60).for_each(|i| _ = (map.remove(&Touchy::new(i - 10)), map.insert(Touchy::new(i), i)));
            map.shrink_to_fit();
        };
        let blown = catch_unwind(AssertUnwindSafe(|| work(&mut map))).is_err();
        FUSE.set(u32::MAX);
        if words(&map)[0] != 0 {
            assert_none(&map);
        }
        assert_eq!(map.len() as i64, THERE.get(), "fuse {fuse}");
        for (key, value) in &map {
            assert_eq!((key.0, map.get(key)), (*value, Some(value)), "fuse {fuse}");
        }
        if !blown {
            assert_eq!(map.len(), 14);
        }
        let (said, mut map) = walked(map, &heap);
        said.unwrap();
        map.insert(Touchy::new(1000), 1000);
        drop(map);
        assert_eq!(THERE.get(), 0, "fuse {fuse}");
        drop(section);
    }
    assert_eq!(live_objects(&heap), 0);
}
