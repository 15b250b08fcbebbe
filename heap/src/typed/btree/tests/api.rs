//! The calls that maps and sets share with std's, one by one.

use super::*;
use crate::typed::btree::Entry;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

#[test]
fn entries_are_looked_at_filled_and_emptied() {
    in_heap(|section| {
        let mut map = PBTreeMap::new_in(section);
        for word in "a b a c b a".split(' ') {
            map.entry(PString::from_str_in(word, section)).and_modify(|count| *count += 1).or_insert(1);
        }
        assert_eq!(format!("{map:?}"), r#"{"a": 3, "b": 2, "c": 1}"#);
        *map.entry(PString::from_str_in("d", section)).or_default() += 4;
        assert_eq!(map.entry(PString::from_str_in("ee", section)).or_insert_with_key(|key| key.len() as i32), &2);
        assert_eq!(map.entry(PString::from_str_in("f", section)).key().as_str(), "f");
        assert!(!map.contains_key("f"));
        let Entry::Occupied(mut entry) = map.entry(PString::from_str_in("a", section)) else { panic!("a is there") };
        *entry.get_mut() += 1;
        assert_eq!((entry.insert(9), *entry.get()), (4, 9));
        let (key, value) = entry.remove_entry();
        assert_eq!((key.as_str(), value), ("a", 9));
        let mut entry = map.entry(PString::from_str_in("a", section)).insert_entry(5);
        *entry.get_mut() += 1;
        assert_eq!(entry.key().as_str(), "a");
        assert_eq!(*entry.into_mut(), 6);
        assert_eq!(map.first_entry().unwrap().remove(), 6);
        assert_eq!(map.last_entry().unwrap().key().as_str(), "ee");
        let Entry::Vacant(entry) = map.entry(PString::from_str_in("z", section)) else { panic!("z is not there") };
        assert_eq!(entry.into_key().as_str(), "z");
        assert_eq!((map["b"], map.len()), (2, 4));
        assert!(panics(|| map["z"]));
    });
}

#[test]
fn maps_and_sets_are_equal_ordered_and_hashed_as_those_of_std_are() {
    in_heap(|section| {
        let of = |values: &[(u32, u32)]| -> PBTreeMap<'_, u32, u32> { values.iter().copied().collect_in(section) };
        let all = [vec![], vec![(1, 1)], vec![(1, 2)], vec![(1, 1), (2, 0)], vec![(2, 0), (1, 1)], vec![(2, 0)]];
        let state = RandomState::new();
        for a in &all {
            for b in &all {
                let std =
                    (a.iter().copied().collect::<BTreeMap<_, _>>(), b.iter().copied().collect::<BTreeMap<_, _>>());
                assert_eq!(of(a) == of(b), std.0 == std.1);
                assert_eq!(of(a).cmp(&of(b)), std.0.cmp(&std.1));
                assert_eq!(of(a).partial_cmp(&of(b)), std.0.partial_cmp(&std.1));
                assert_eq!(state.hash_one(of(a)) == state.hash_one(of(b)), std.0 == std.1);
                let sets = (a.iter().map(|a| a.0), b.iter().map(|b| b.0));
                let sets: (PBTreeSet<'_, u32>, PBTreeSet<'_, u32>) =
                    (sets.0.collect_in(section), sets.1.collect_in(section));
                let keys = (std.0.keys().collect::<BTreeSet<_>>(), std.1.keys().collect::<BTreeSet<_>>());
                assert_eq!(sets.0.cmp(&sets.1), keys.0.cmp(&keys.1));
                assert_eq!(sets.0 == sets.1, keys.0 == keys.1);
                assert_eq!(state.hash_one(&sets.0) == state.hash_one(&sets.1), keys.0 == keys.1);
            }
        }
        // Of equal keys, the last is kept; of what is appended, the value.
        let mut map = of(&[(3, 1), (1, 1), (3, 2)]);
        map.append(&mut of(&[(1, 5), (2, 5)]));
        assert!(map.iter().eq([(&1, &5), (&2, &5), (&3, &2)]));
        map.values_mut().for_each(|value| *value += 1);
        for (key, value) in &mut map {
            *value += key;
        }
        assert!(map.clone().into_values().eq([7, 8, 6]) && map.clone().into_keys().rev().eq([3, 2, 1]));
        map.extend([(&9, &9)]);
        assert_eq!((map.first_key_value(), map.last_key_value()), (Some((&1, &7)), Some((&9, &9))));
        let mut iter = map.iter();
        assert_eq!((iter.next(), iter.next_back(), iter.len()), (Some((&1, &7)), Some((&9, &9)), 2));
        assert_eq!((iter.clone().count(), iter.size_hint(), map.iter_mut().len()), (2, (2, Some(2)), 4));
        assert_eq!(map.get_key_value(&2), Some((&2, &8)));
        assert_eq!((map.remove_entry(&2), map.get(&2)), (Some((2, 8)), None));
    });
}

#[test]
fn two_sets_are_compared_and_combined() {
    let mut rng = SmallRng::seed_from_u64(11);
    in_heap(|section| {
        for _ in 0..some(60) {
            let mut random = |most: u64| -> BTreeSet<u64> {
                let values = rng.random_range(0..=most);
                (0..values).map(|_| rng.random_range(0..60)).collect()
            };
            let (a, b) = (random(40), random(70));
            let of = |set: &BTreeSet<u64>| -> PBTreeSet<'_, u64> { set.iter().copied().collect_in(section) };
            let (pa, pb) = (of(&a), of(&b));
            assert!(pa.union(&pb).eq(a.union(&b)));
            assert!(pa.intersection(&pb).eq(a.intersection(&b)));
            assert!(pa.difference(&pb).eq(a.difference(&b)));
            assert!(pa.symmetric_difference(&pb).eq(a.symmetric_difference(&b)));
            assert!((&pa | &pb).iter().eq(&(&a | &b)) && (&pa & &pb).iter().eq(&(&a & &b)));
            assert!((&pa - &pb).iter().eq(&(&a - &b)) && (&pa ^ &pb).iter().eq(&(&a ^ &b)));
            assert_eq!(pa.is_subset(&pb), a.is_subset(&b));
            assert_eq!(pa.is_superset(&(&pa & &pb)), a.is_superset(&(&a & &b)));
            assert_eq!(pa.is_disjoint(&pb), a.is_disjoint(&b));
            (&pa ^ &pb).map.check();
        }
    });
}

#[test]
fn sets_keep_each_value_once() {
    in_heap(|section| {
        let mut set = PBTreeSet::new_in(section);
        assert!(set.insert(PString::from_str_in("one", section)) && !set.insert(PString::from_str_in("one", section)));
        let (kept, new) = (PString::from_str_in("two", section), PString::from_str_in("two", section));
        let (first, second) = (kept.as_bytes().as_ptr(), new.as_bytes().as_ptr());
        assert!(set.try_insert(kept).unwrap());
        assert_eq!(set.get("two").unwrap().as_bytes().as_ptr(), first);
        assert_eq!(set.replace(new).unwrap().as_bytes().as_ptr(), first);
        assert_eq!(set.get("two").unwrap().as_bytes().as_ptr(), second);
        assert_eq!(set.replace(PString::from_str_in("zero", section)), None);
        assert_eq!(format!("{set:?}"), r#"{"one", "two", "zero"}"#);
        assert_eq!((set.first().unwrap().as_str(), set.last().unwrap().as_str()), ("one", "zero"));
        assert!(set.contains("one") && set.remove("one") && !set.remove("one"));
        assert_eq!(set.take("two").unwrap().as_str(), "two");
        let mut more = set.clone();
        more.extend(["a", "b"].map(|text| PString::from_str_in(text, section)));
        more.retain(|text| text.as_str() != "b");
        set.append(&mut more);
        assert_eq!((set.len(), more.is_empty()), (2, true));
        assert!(set.range::<str, _>((Bound::Included("b"), Bound::Unbounded)).map(|text| text.as_str()).eq(["zero"]));
        assert_eq!((set.pop_last().unwrap().as_str(), set.pop_first().unwrap().as_str()), ("zero", "a"));
        set.insert(PString::from_str_in("last", section));
        assert_eq!(set.into_iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>(), ["last"]);
    });
}
