//! Maps in heaps that are closed, or left as by a crash, and opened again.

use super::*;
use crate::base::ZONE_SHIFT;
use crate::sys::refuse::{Refusal, can_refuse, refusing};
use crate::{OnPanic, TrackerKind};
use std::path::Path;

type Words<'s> = PHashMap<'s, PString<'s>, PVec<'s, u64>>;
type Desk<'s> = (PHashMap<'s, u64, u64>, Words<'s>, PHashMap<'s, u64, Words<'s>>, PHashSet<'s, PString<'s>>);

fn empty<'s>(section: &'s crate::Section<'_>) -> Result<Desk<'s>> {
    Ok((PHashMap::new_in(section), PHashMap::new_in(section), PHashMap::new_in(section), PHashSet::new_in(section)))
}

fn with_desk<R>(heap: &Heap, work: impl for<'s> FnOnce(&mut Desk<'s>, &'s crate::Section<'_>) -> R) -> R {
    let section = heap.enter();
    let root = heap.root::<Desk<'_>>("desk", empty).unwrap();
    let mut desk = root.write(&section).unwrap();
    work(&mut desk, &section)
}

#[test]
fn an_empty_map_is_empty_when_the_heap_is_opened_again() {
    let (_dir, path) = place();
    let heap = Heap::create(&path).unwrap();
    with_desk(&heap, |desk, _| assert_none(&desk.0));
    heap.checkpoint().unwrap();
    drop(heap);
    // Never used, emptied, taken out, left behind by a leaked iterator.
    for way in 0..4 {
        let heap = reopen(&Heap::options().verify(true), &path);
        with_desk(&heap, |desk, _| {
            assert_none(&desk.0);
            desk.0.extend([(1, 2), (3, 4)]);
            match way {
                0 => (desk.0.clear(), desk.0.shrink_to_fit()).0,
                1 => desk.0.drain().for_each(drop),
                2 => std::mem::forget(desk.0.drain()),
                _ => desk.0.retain(|_, _| false),
            }
            desk.0.shrink_to_fit();
            assert_none(&desk.0);
        });
        heap.checkpoint().unwrap();
        drop(heap);
    }
}

#[test]
fn maps_in_maps_and_texts_are_there_when_the_heap_is_opened_again() {
    let (_dir, path) = place();
    let options = Heap::options().log_bytes(1 << 14).verify(true);
    drop(options.create(&path).unwrap());
    for round in 0..6u64 {
        let heap = reopen(&options, &path);
        with_desk(&heap, |(numbers, words, nested, set), section| {
            let text = |text: &str| PString::from_str_in(text, section);
            assert_eq!((numbers.len() as u64, words.len() as u64), (round * 300, round * 7));
            assert!((0..round * 300).all(|i| numbers[&i] == i * i));
            assert!((0..round * 7).all(|i| words[format!("word {i}").as_str()] == [i, i / 7]));
            assert!((0..round).all(|i| nested[&i]["inner"] == [i] && set.contains(format!("round {i}").as_str())));
            numbers.extend((round * 300..(round + 1) * 300).map(|i| (i, i * i)));
            for i in round * 7..(round + 1) * 7 {
                words.insert(text(&format!("word {i}")), [i, round].into_iter().collect_in(section));
            }
            let inner = nested.entry(round).or_insert_with(|| PHashMap::new_in(section));
            inner.insert(text("inner"), PVec::from_slice_in(&[round], section));
            set.insert(text(&format!("round {round}")));
        });
        heap.checkpoint().unwrap();
        if round % 2 == 0 { drop(heap) } else { drop(heap.close().unwrap()) }
    }
}

#[test]
fn what_panics_and_leaks_leave_can_be_stored_and_opened() {
    let (_dir, path) = place();
    let options = Heap::options().verify(true).on_panic(OnPanic::Accept);
    let heap = options.create(&path).unwrap();
    let keys = |heap: &Heap| {
        let section = heap.enter();
        let root = heap.root::<PHashMap<'_, Touchy, u64>>("keys", |section| Ok(PHashMap::new_in(section))).unwrap();
        let map = root.write(&section).unwrap();
        map.values().sum::<u64>()
    };
    let mut sum = keys(&heap);
    drop(heap);
    for fuse in (0..120).step_by(3) {
        let heap = reopen(&options, &path);
        assert_eq!(keys(&heap), sum, "fuse {fuse}");
        FUSE.set(fuse);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let section = heap.enter();
            let root = heap.find_root::<PHashMap<'_, Touchy, u64>>("keys").unwrap().unwrap();
            let mut map = root.write(&section).unwrap();
            for i in 0..20 {
                map.insert(Touchy::new(u64::from(fuse) * 2 + i), i);
                map.remove(&Touchy::new(u64::from(fuse) + i));
            }
            std::mem::forget(map.entry(Touchy::new(1)));
            map.retain(|key, _| key.0 % 7 < FUSE.get().into());
            map.shrink_to_fit();
        }));
        FUSE.set(u32::MAX);
        sum = keys(&heap);
        heap.checkpoint().unwrap();
    }
}

#[test]
fn the_same_operations_write_the_same_maps() {
    let write = |path: &Path| {
        let heap = Heap::options().seed(11).create(path).unwrap();
        with_desk(&heap, |(numbers, words, _, _), section| {
            numbers.extend((0..1000).map(|i| (i, i)));
            numbers.retain(|key, _| key % 3 > 0);
            words.insert(PString::from_str_in("word", section), PVec::new_in(section));
            // But for the zone: another test's heap may have it for a moment.
            let within = crate::typed::hash_map::tests::words(numbers).map(|word| word % (1 << ZONE_SHIFT));
            (numbers.iter().map(|(key, _)| *key).collect::<Vec<_>>(), within)
        })
    };
    let both = [0, 1].map(|_| {
        let (dir, path) = place();
        let order = write(&path);
        drop(dir);
        order
    });
    assert_eq!(both[0], both[1]);
    let seeds = [0, 1].map(|_| {
        let (_dir, path) = place();
        let heap = Heap::create(path).unwrap();
        let section = heap.enter();
        [0, 1].map(|_| *PHashMap::<u64, u64>::new_in(&section).hasher())
    });
    assert!(seeds[0][0] != seeds[0][1] && seeds[0] != seeds[1], "without a seed, seeds are random: {seeds:?}");
}

#[test]
fn a_map_that_finds_no_memory_stays_as_it_was() {
    if !can_refuse() {
        return;
    }
    let (_dir, path) = place();
    let heap = Heap::options().tracker(TrackerKind::Async).create(path).unwrap();
    with_desk(&heap, |desk, _| desk.0.extend([(1, 2), (3, 4)]));
    let act = || {
        with_desk(&heap, |desk, _| {
            let e = desk.0.try_reserve(10_000).expect_err("no memory");
            assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{e}");
            assert_eq!((desk.0[&1], desk.0.len()), (2, 2));
            desk.0.insert(5, 6);
        });
    };
    refusing(&[Refusal::register(libc::ENOMEM)], act);
    with_desk(&heap, |desk, _| {
        desk.0.reserve(10_000);
        assert_eq!(desk.0.values().sum::<u64>(), 12);
    });
}
