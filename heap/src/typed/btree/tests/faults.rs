//! Comparisons and drops that panic, allocations that fail: nothing is lost, doubled or freed twice.

use super::*;

fn full<'s>(section: &'s crate::Section<'_>, len: u64) -> PBTreeMap<'s, Key, Counted> {
    (0..len).map(|n| (Key(2 * n), Counted::new())).collect_in(section)
}

/// Calls `work` with 0, 1, 2 ... comparisons that succeed, until all do. `work` says whether the map is as it was before it.
fn with_failing(what: &'static std::thread::LocalKey<Cell<u64>>, mut work: impl FnMut(u64)) -> u64 {
    for successes in 0.. {
        what.set(successes);
        work(successes);
        // The countdown stops at the failure that it led to.
        if what.replace(u64::MAX) != u64::MAX {
            return successes;
        }
    }
    unreachable!()
}

#[test]
fn a_comparison_that_panics_leaves_the_map_as_it_was() {
    in_heap(|section| {
        for len in [0, 1, some(31), some(700)] {
            let mut map = full(section, len);
            let before: Vec<u64> = map.iter().map(|(key, _)| key.0).collect();
            let searches = with_failing(&COMPARISONS, |_| {
                let done = !panics(|| drop(map.insert(Key(len | 1), Counted::new())));
                assert_eq!(Counted::alive(), map.len());
                let left = COMPARISONS.replace(u64::MAX);
                map.check();
                if done {
                    assert!(map.remove(&Key(len | 1)).is_some());
                }
                assert!(map.keys().map(|key| key.0).eq(before.iter().copied()));
                COMPARISONS.set(left);
            });
            assert!(searches > 0 || len == 0, "nothing was compared");
            with_failing(&COMPARISONS, |_| {
                let result = catch_unwind(AssertUnwindSafe(|| map.remove(&Key(len / 2 * 2))));
                let left = COMPARISONS.replace(u64::MAX);
                map.check();
                if let Ok(Some(value)) = result {
                    map.insert(Key(len / 2 * 2), value);
                }
                assert!(map.keys().map(|key| key.0).eq(before.iter().copied()));
                COMPARISONS.set(left);
            });
        }
    });
}

#[test]
fn calls_that_move_many_values_keep_each_in_one_place_when_a_comparison_panics() {
    in_heap(|section| {
        with_failing(&COMPARISONS, |_| {
            let left = COMPARISONS.replace(u64::MAX);
            let (mut a, mut b) = (full(section, some(90)), full(section, some(40)));
            b.extend((0..some(50)).map(|n| (Key(2 * n + 1), Counted::new())));
            let all: BTreeSet<u64> = a.keys().chain(b.keys()).map(|key| key.0).collect();
            COMPARISONS.set(left);
            let panicked = panics(|| a.append(&mut b));
            let left = COMPARISONS.replace(u64::MAX);
            assert_eq!(panicked, !b.is_empty());
            a.check();
            b.check();
            assert_eq!(Counted::alive(), a.len() + b.len());
            assert_eq!(a.keys().chain(b.keys()).map(|key| key.0).collect::<BTreeSet<_>>(), all);
            COMPARISONS.set(left);
        });
        with_failing(&COMPARISONS, |_| {
            let left = COMPARISONS.replace(u64::MAX);
            let mut map = full(section, some(90));
            COMPARISONS.set(left);
            let panicked = panics(|| map.retain(|key, _| key.0 % 3 > 0));
            let left = COMPARISONS.replace(u64::MAX);
            map.check();
            assert_eq!(Counted::alive(), map.len());
            assert!(panicked || map.keys().all(|key| key.0 % 3 > 0));
            COMPARISONS.set(left);
        });
    });
}

#[test]
fn an_allocation_that_fails_leaves_the_map_as_it_was() {
    in_heap(|section| {
        let mut map = PBTreeMap::new_in(section);
        let mut failures = [0; 5];
        for n in 0..some(4000) {
            // Every split, of every height, is tried with each of its allocations failing.
            let key = Key(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let successes = with_failing(&ALLOCATIONS, |successes| match map.try_insert(key, Counted::new()) {
                Ok(before) => assert!(before.is_none()),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::OutOfMemory);
                    assert_eq!(map.get(&key).map(|value| value.0), None);
                    assert_eq!((map.len() as u64, Counted::alive() as u64), (n, n));
                    failures[successes as usize] += 1;
                    if n % 16 == 0 {
                        map.check();
                    }
                }
            });
            assert!(successes <= 4);
        }
        map.check();
        assert!(failures[1] > 0, "no split of a node that has one above it: {failures:?}");
        ALLOCATIONS.set(0);
        let mut one = PBTreeMap::new_in(section);
        assert!(panics(|| drop(one.insert(Key(1), Counted::new()))));
        assert!(one.is_empty());
    });
}

#[test]
fn a_drop_that_panics_keeps_no_other_value_from_being_dropped() {
    in_heap(|section| {
        let len = some(200);
        for at in [0, 1, len / 2, len - 1] {
            let map = full(section, len);
            DROPS.set(at);
            assert!(panics(|| drop(map)));
            assert_eq!(Counted::alive(), 0);
            let mut map = full(section, len);
            DROPS.set(at);
            assert!(panics(|| map.clear()));
            assert_eq!((Counted::alive(), map.len()), (0, 0));
            let mut values = full(section, len).into_values();
            drop((values.next(), values.next_back()));
            DROPS.set(at.min(len - 3));
            assert!(panics(|| drop(values)));
            assert_eq!(Counted::alive(), 0);
        }
    });
}

#[test]
fn a_closure_that_panics_leaves_a_map() {
    in_heap(|section| {
        let len = some(300);
        for at in [0, 1, len / 2, len - 1] {
            let mut map = full(section, len);
            let mut seen = 0;
            assert!(panics(|| map.retain(|key, _| {
                seen += 1;
                assert!(seen <= at);
                key.0 % 4 > 0
            })));
            map.check();
            assert_eq!(Counted::alive(), map.len());
            assert_eq!(map.len() as u64, len - at.div_ceil(2));
            assert!(panics(|| {
                map.entry(Key(1)).or_insert_with(|| panic!("told to"));
            }));
            assert!(!map.contains_key(&Key(1)));
        }
    });
}

#[test]
fn another_thread_can_use_a_map_but_not_make_it_grow() {
    in_heap(|section| {
        let mut map: PBTreeMap<'_, u64, u64> = (0..some(500)).map(|n| (n, n)).collect_in(section);
        let (len, mut empty) = (map.len() as u64, PBTreeMap::<u64, u64>::new_in(section));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(empty.try_insert(1, 1).unwrap_err().kind(), ErrorKind::NotInSection);
                let grown = (0..40).map(|n| map.try_insert(len + n, n)).find_map(Result::err);
                assert_eq!(grown.expect("a leaf has no room for 40").kind(), ErrorKind::NotInSection);
                map.check();
                map.retain(|key, _| key % 2 == 0);
                map.check();
                *map.get_mut(&0).unwrap() = 7;
                map.clear();
            });
        });
        assert!(map.is_empty());
        map.insert(1, 1);
        assert_eq!(map[&1], 1);
    });
}

/// Whose order changes while they are in a map.
#[test]
fn an_order_that_contradicts_itself_does_no_harm() {
    #[repr(transparent)]
    struct Wild(Counted);
    as_number!(Wild);
    thread_local!(static RNG: RefCell<SmallRng> = RefCell::new(SmallRng::seed_from_u64(7)));
    impl PartialEq for Wild {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Wild {}
    impl PartialOrd for Wild {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Wild {
        fn cmp(&self, _: &Self) -> Ordering {
            RNG.with_borrow_mut(|rng| rng.random_range(-9..10).cmp(&rng.random_range(-1..2)))
        }
    }
    in_heap(|section| {
        let mut map = PBTreeMap::new_in(section);
        for n in 0..some(3000) {
            let wild = || Wild(Counted::new());
            match n % 6 {
                0 => drop(map.remove(&wild())),
                1 => drop(panics(|| {
                    let mut last = u64::MAX;
                    let values = map.range_mut(wild()..wild()).map(|(_, value): (&Wild, &mut u64)| value);
                    // Each value once.
                    values.for_each(|value| last = std::mem::replace(value, last));
                })),
                2 if n % 100 == 2 => {
                    let mut other = PBTreeMap::new_in(section);
                    other.extend((0..9).map(|_| (wild(), 1)));
                    map.append(&mut other);
                    map.retain(|_, value| *value % 5 > 0);
                }
                3 => drop(panics(|| drop(map.entry(wild()).insert_entry(3).remove_entry()))),
                _ => drop(map.insert(wild(), n)),
            }
            assert_eq!(map.iter().count(), map.len());
            assert_eq!(Counted::alive(), map.len());
        }
    });
}
