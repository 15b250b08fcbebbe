//! Random operations on a map and on std's, with checkpoints and reopening between them.

use super::*;
use crate::typed::tests::reopen;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

/// `STREWN_SEED`, or a random number, which is printed.
fn seed(test: &str) -> u64 {
    let seed = match std::env::var("STREWN_SEED") {
        Ok(text) => text.parse().expect("STREWN_SEED is a number"),
        Err(_) => RandomState::new().hash_one(test),
    };
    println!("again: STREWN_SEED={seed} cargo test -p strewn --lib typed::btree::tests::model::{test}");
    seed
}

fn bound(rng: &mut SmallRng, keys: u64) -> Bound<u64> {
    match rng.random_range(0..3) {
        0 => Bound::Included(rng.random_range(0..keys)),
        1 => Bound::Excluded(rng.random_range(0..keys)),
        _ => Bound::Unbounded,
    }
}

/// Whether std takes such a range.
fn is_range(range: &(Bound<u64>, Bound<u64>)) -> bool {
    match range {
        (Bound::Excluded(a), Bound::Excluded(b)) => a < b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a <= b,
        _ => true,
    }
}

fn mapped<K>(bound: &Bound<u64>, key: impl Fn(u64) -> K) -> Bound<K> {
    bound.map(key)
}

/// A test of maps from `$key` to `$value`, each made of a number, and told by it.
macro_rules! model {
    ($test:ident, $key:ty, $value:ty, $of_key:expr, $of_value:expr, $key_of:expr, $value_of:expr) => {
        #[test]
        fn $test() {
            let (_dir, path) = place();
            let options = Heap::options().verify(true).log_bytes(1 << 16);
            drop(options.create(&path).unwrap());
            let mut rng = SmallRng::seed_from_u64(seed(stringify!($test)));
            let mut model = BTreeMap::new();
            let (rounds, steps) = if cfg!(miri) { (2, 40) } else { (12, 1500) };
            for _ in 0..rounds {
                let heap = reopen(&options, &path);
                // Small ranges of keys make shallow trees with many hits, large ones deep trees.
                let keys = rng.random_range(1..some(5000));
                let shrinks = rng.random_bool(0.4);
                for _ in 0..rng.random_range(1..3) {
                    work(&heap, &mut rng, &mut model, keys, shrinks, steps);
                    heap.checkpoint().unwrap();
                }
                heap.check();
                if rng.random() { drop(heap.close().unwrap()) } else { drop(heap) }
            }
            let heap = reopen(&options, &path);
            work(&heap, &mut rng, &mut model, 1, true, 1);
            heap.checkpoint().unwrap();
            let nodes_and_values = heap.stats().unwrap().live_objects;
            assert!(nodes_and_values <= 3 * model.len() as u64 + 3, "{nodes_and_values} for {}", model.len());

            fn work(
                heap: &Heap,
                rng: &mut SmallRng,
                model: &mut BTreeMap<u64, u64>,
                keys: u64,
                shrinks: bool,
                steps: usize,
            ) {
                let section = &heap.enter();
                let (of_key, of_value) = ($of_key, $of_value);
                let (key_of, value_of) = ($key_of, $value_of);
                let root =
                    heap.root::<PBTreeMap<$key, $value>>("map", |section| Ok(PBTreeMap::new_in(section))).unwrap();
                let mut map = root.write(section).unwrap();
                let same = |map: &PBTreeMap<'_, $key, $value>, model: &BTreeMap<u64, u64>| {
                    map.check();
                    let pairs = map.iter().map(|(key, value)| (key_of(key), value_of(value)));
                    assert!(pairs.eq(model.iter().map(|(key, value)| (*key, *value))));
                };
                same(&map, model);
                for _ in 0..steps {
                    let (n, x) = (rng.random_range(0..keys), rng.random_range(0..1 << 20));
                    let key = of_key(n, section);
                    let rare = rng.random_range(0..200);
                    match rng.random_range(0..16) {
                        _ if rare == 0 => {
                            let divisor = rng.random_range(2..9);
                            map.retain(|key, _| key_of(key) % divisor > 0);
                            model.retain(|key, _| key % divisor > 0);
                        }
                        _ if rare == 1 => {
                            let more = (0..rng.random_range(0..100)).map(|_| (rng.random_range(0..keys), x));
                            let more: Vec<_> = more.collect();
                            let pairs = more.iter().map(|(n, x)| (of_key(*n, section), of_value(*x, section)));
                            let mut other: PBTreeMap<'_, $key, $value> = pairs.collect_in(section);
                            other.check();
                            map.append(&mut other);
                            other.check();
                            assert!(other.is_empty());
                            model.extend(more);
                        }
                        _ if rare == 2 => {
                            let copy = map.clone();
                            copy.check();
                            assert_eq!(copy, *map);
                            let taken = rng.random_range(0..=copy.len());
                            let taken =
                                copy.into_iter().rev().take(taken).map(|(key, value)| (key_of(&key), value_of(&value)));
                            assert!(taken.zip(model.iter().rev()).all(|(a, (key, value))| a == (*key, *value)));
                        }
                        _ if rare == 3 && shrinks => {
                            map.clear();
                            model.clear();
                        }
                        0..4 if !shrinks => {
                            assert_eq!(map.insert(key, of_value(x, section)).as_ref().map(value_of), model.insert(n, x))
                        }
                        0..6 => {
                            let (first, last) = (map.pop_first(), map.pop_last());
                            assert_eq!(first.map(|(k, v)| (key_of(&k), value_of(&v))), model.pop_first());
                            assert_eq!(last.map(|(k, v)| (key_of(&k), value_of(&v))), model.pop_last());
                        }
                        6 => assert_eq!(map.remove(&key).as_ref().map(value_of), model.remove(&n)),
                        7 => {
                            // Next to each other, in order.
                            for n in n..n + 20 {
                                map.insert(of_key(n, section), of_value(x, section));
                                model.insert(n, x);
                            }
                        }
                        8 => {
                            if let Some(value) = map.get_mut(&key) {
                                *value = of_value(x, section);
                                model.insert(n, x);
                            }
                            assert_eq!(map.get(&key).map(value_of), model.get(&n).copied());
                        }
                        9 => {
                            use std::collections::btree_map::Entry as Std;
                            match (map.entry(key), model.entry(n)) {
                                (super::super::Entry::Occupied(a), Std::Occupied(b)) => {
                                    assert_eq!(value_of(a.get()), *b.get());
                                    assert_eq!(value_of(&a.remove()), b.remove());
                                }
                                (super::super::Entry::Vacant(a), Std::Vacant(b)) => {
                                    assert_eq!(value_of(a.insert(of_value(x, section))), *b.insert(x));
                                }
                                _ => panic!("one of them has {n}"),
                            }
                        }
                        10..13 => {
                            let range = (bound(rng, keys), bound(rng, keys));
                            let ours =
                                (mapped(&range.0, |n| of_key(n, section)), mapped(&range.1, |n| of_key(n, section)));
                            if !is_range(&range) {
                                assert!(panics(|| assert!(map.range::<$key, _>(ours).next().is_none())));
                                continue;
                            }
                            let (mut a, mut b) =
                                (map.range::<$key, _>((ours.0.as_ref(), ours.1.as_ref())), model.range(range));
                            loop {
                                let (a, b) =
                                    if rng.random() { (a.next(), b.next()) } else { (a.next_back(), b.next_back()) };
                                assert_eq!(a.map(|(k, v)| (key_of(k), value_of(v))), b.map(|(k, v)| (*k, *v)));
                                if a.is_none() {
                                    break;
                                }
                            }
                            map.range_mut::<$key, _>(ours)
                                .for_each(|(_, value)| *value = of_value(value_of(value) ^ x, section));
                            model.range_mut(range).for_each(|(_, value)| *value ^= x);
                        }
                        _ => {
                            let pair = map.get_key_value(&key).map(|(k, v)| (key_of(k), value_of(v)));
                            assert_eq!(pair, model.get_key_value(&n).map(|(k, v)| (*k, *v)));
                            assert_eq!(map.len(), model.len());
                        }
                    }
                }
                same(&map, model);
            }
        }
    };
}

model!(numbers, u64, u64, |n: u64, _| n, |x: u64, _| x, |k: &u64| *k, |v: &u64| *v);
model!(
    large_values,
    u16,
    [u64; 30],
    |n: u64, _| n as u16,
    |x: u64, _| [x; 30],
    |k: &u16| u64::from(*k),
    |v: &[u64; 30]| v[29]
);
model!(page_runs, u64, [u64; 100], |n: u64, _| n, |x: u64, _| [x; 100], |k: &u64| *k, |v: &[u64; 100]| v[99]);
model!(
    texts_and_arrays,
    PString,
    PVec<u64>,
    |n: u64, section| PString::from_str_in(&format!("{n:05}"), section),
    |x: u64, section| PVec::from_slice_in(&[x, x], section),
    |k: &PString<'_>| k.as_str().parse::<u64>().unwrap(),
    |v: &PVec<'_, u64>| v[1]
);
