//! Sets against those of the standard library.

use super::*;
use crate::typed::tests::place;
use crate::{CollectIn, Heap, PString};
use std::collections::{BTreeSet, HashSet};

#[test]
fn two_sets_have_together_what_those_of_std_have() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let sorted = |values: &mut dyn Iterator<Item = &u64>| values.copied().collect::<BTreeSet<_>>();
    for (low, high) in [(0, 0), (0, 10), (5, 15), (10, 20), (3, 7)] {
        let ours: PHashSet<u64> = (0..10).collect_in(&section);
        let other: PHashSet<u64> = (low..high).collect_in(&section);
        let (a, b): (HashSet<u64>, HashSet<u64>) = ((0..10).collect(), (low..high).collect());
        assert_eq!(sorted(&mut ours.union(&other)), sorted(&mut a.union(&b)));
        assert_eq!(ours.union(&other).count(), a.union(&b).count(), "each once");
        assert_eq!(sorted(&mut ours.intersection(&other)), sorted(&mut a.intersection(&b)));
        assert_eq!(sorted(&mut ours.difference(&other)), sorted(&mut a.difference(&b)));
        assert_eq!(sorted(&mut ours.symmetric_difference(&other)), sorted(&mut a.symmetric_difference(&b)));
        assert_eq!(ours.is_subset(&other), a.is_subset(&b));
        assert_eq!(ours.is_superset(&other), a.is_superset(&b));
        assert_eq!(ours.is_disjoint(&other), a.is_disjoint(&b));
        assert_eq!(ours == other, a == b);
    }
}

#[test]
fn sets_are_used_as_those_of_std_are() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let text = |text: &str| PString::from_str_in(text, &section);
    let mut set = PHashSet::with_capacity_in(3, &section);
    assert!(set.insert(text("a")) && set.insert(text("b")) && !set.insert(text("a")));
    assert_eq!((set.len(), set.contains("a"), set.get("c").is_some()), (2, true, false));
    assert_eq!(set.get("b").unwrap(), "b");
    assert_eq!(set.replace(text("b")).unwrap(), "b");
    assert!(set.replace(text("c")).is_none());
    assert_eq!(set.take("c").unwrap(), "c");
    assert!(!set.remove("c") && set.remove("a"));
    assert_eq!(format!("{set:?}"), "{\"b\"}");
    assert_eq!(set.clone(), set);
    set.retain(|value| value != "b");
    assert!(set.is_empty() && set.capacity() > 0);
    set.shrink_to_fit();
    assert_eq!(set.capacity(), 0);
    let mut numbers = PHashSet::<u64>::new_in(&section);
    numbers.extend(&[1, 2, 3]);
    numbers.try_reserve(100).unwrap();
    numbers.shrink_to(4);
    assert_eq!((numbers.capacity(), numbers.iter().copied().sum::<u64>()), (7, 6));
    assert_eq!(numbers.drain().sum::<u64>(), 6);
    assert_eq!(numbers.into_iter().len(), 0);
}
