//! Random operations, on a map in a heap and on one of the standard library, with checkpoints, in heaps with and without a write barrier; where
//! there are files, also with opening the heap again.
//!
//! `STREWN_SEED=... cargo test -p strewn --lib hash_map::tests::model` repeats one run.

use super::*;
use crate::Writes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::HashMap;

const RUNS: u64 = if cfg!(miri) { 1 } else { 40 };
const OPS: usize = if cfg!(miri) { 60 } else { 600 };
const REOPENS: bool = cfg!(not(any(miri, strewn_twin)));

type Maps<'s> = (PHashMap<'s, u64, u64>, PHashMap<'s, PString<'s>, PVec<'s, u32>>);

#[derive(Default)]
struct Model {
    numbers: HashMap<u64, u64>,
    texts: HashMap<String, Vec<u32>>,
}

fn check(maps: &Maps<'_>, model: &Model) {
    let (numbers, texts) = maps;
    assert_eq!((numbers.len(), texts.len()), (model.numbers.len(), model.texts.len()));
    assert!(model.numbers.iter().all(|(key, value)| numbers.get(key) == Some(value)));
    assert!(model.texts.iter().all(|(key, value)| texts.get(key.as_str()).is_some_and(|v| v == value)));
    let sum: u64 = numbers.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add);
    assert_eq!(sum, model.numbers.iter().map(|(key, value)| key ^ value).fold(0, u64::wrapping_add));
    if numbers.capacity() == 0 {
        assert_none(numbers);
    }
}

/// One operation on the numbers.
fn on_numbers(map: &mut PHashMap<'_, u64, u64>, model: &mut HashMap<u64, u64>, range: u64, rng: &mut SmallRng) {
    let (key, value) = (rng.random_range(0..range), rng.random());
    match rng.random_range(0..100) {
        0..40 => assert_eq!(map.insert(key, value), model.insert(key, value)),
        40..60 => assert_eq!(map.remove(&key), model.remove(&key)),
        60..70 => assert_eq!(*map.entry(key).or_insert(value), *model.entry(key).or_insert(value)),
        70..75 => {
            let (ours, theirs) =
                (map.entry(key).and_modify(|v| *v ^= value), model.entry(key).and_modify(|v| *v ^= value));
            assert_eq!(*ours.or_default(), *theirs.or_default());
        }
        75..80 => assert_eq!(map.get_key_value(&key), model.get_key_value(&key)),
        80..83 => map.values_mut().chain(model.values_mut()).for_each(|v| *v = v.rotate_left(7)),
        83..86 => {
            map.retain(|key, _| key % 3 > 0);
            model.retain(|key, _| key % 3 > 0);
        }
        86..89 => map.shrink_to_fit(),
        89..91 => map.reserve(value as usize % 500),
        91..93 => *map = map.clone(),
        93..95 => {
            let mut pairs: Vec<_> = map.drain().collect();
            assert_eq!(pairs.len(), model.len());
            pairs.retain(|(key, _)| key % 2 == 0);
            model.retain(|key, _| key % 2 == 0);
            map.extend(pairs);
        }
        95..97 => (map.clear(), model.clear()).0,
        97 => std::mem::forget((map.drain(), model.drain().count()).0),
        98 => assert_eq!(map.iter_mut().count(), model.len()),
        _ => {
            let panics = |_: &u64, v: &mut u64| {
                if (*v).is_multiple_of(5) { resume_unwind(Box::new("as planned")) } else { true }
            };
            let _ = catch_unwind(AssertUnwindSafe(|| map.retain(panics)));
        }
    }
}

/// One operation on the texts. `same` is for keys that are there and for such that are not.
fn on_texts(
    map: &mut PHashMap<'_, PString<'_>, PVec<'_, u32>>,
    model: &mut HashMap<String, Vec<u32>>,
    rng: &mut SmallRng,
) {
    let text = format!("a key that may be there: {}", rng.random_range(0..40));
    let number = rng.random();
    match rng.random_range(0..10) {
        0..6 => {
            if let Some(there) = map.get_mut(text.as_str()) {
                there.push(number);
                model.get_mut(&text).expect("it is there").push(number);
            }
        }
        6..8 => assert_eq!(map.remove(text.as_str()).map(|v| v.to_vec()), model.remove(&text)),
        8 => map.shrink_to_fit(),
        _ => map.retain(|key, _| model.contains_key(key.as_str())),
    }
}

fn run(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (_dir, path) = place();
    let writes = if seed.is_multiple_of(2) { Writes::Hardware } else { Writes::Barrier };
    let options = Heap::options().log_bytes(1 << 16).verify(true).writes(writes);
    let mut heap = options.create(&path).unwrap();
    let mut model = Model::default();
    let mut done = 0;
    let range = [4, 50, 3000][rng.random_range(0..3)];
    while done < OPS {
        {
            let section = heap.enter();
            let root =
                heap.root::<Maps<'_>>("maps", |section| Ok((PHashMap::new_in(section), PHashMap::new_in(section))));
            let root = root.unwrap();
            let mut maps = root.write(&section).unwrap();
            check(&maps, &model);
            let (numbers, texts) = &mut *maps;
            for _ in 0..rng.random_range(0..OPS / 4) {
                on_numbers(numbers, &mut model.numbers, range, &mut rng);
                let new = format!("a key that may be there: {}", rng.random_range(0..40));
                texts
                    .entry_ref(new.as_str(), |text| PString::from_str_in(text, &section))
                    .or_insert_with(|| PVec::new_in(&section));
                model.texts.entry(new).or_default();
                on_texts(texts, &mut model.texts, &mut rng);
                done += 1;
            }
            done += 1;
            check(&maps, &model);
        }
        heap.checkpoint().unwrap();
        heap.check();
        if REOPENS {
            // As after a crash, and after closing.
            if rng.random() {
                drop(heap)
            } else {
                drop(heap.close().unwrap())
            }
            heap = reopen(&options, &path);
        }
    }
}

#[test]
fn maps_do_what_those_of_std_do() {
    let seeds = match std::env::var("STREWN_SEED") {
        Ok(seed) => vec![seed.parse().expect("STREWN_SEED is a number")],
        Err(_) => (0..RUNS).map(|run| std::hash::RandomState::new().hash_one(run)).collect(),
    };
    for seed in seeds {
        println!("STREWN_SEED={seed} cargo test -p strewn --lib hash_map::tests::model");
        run(seed);
    }
}
