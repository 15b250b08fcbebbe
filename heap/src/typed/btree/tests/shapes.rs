//! How nodes are laid out, how full they are, and that many values go in and out in any order.

use super::*;

#[test]
fn nodes_fit_their_slots() {
    fn shape<K, V>() -> (usize, usize, usize) {
        (Shape::<K, V>::CAPACITY, Shape::<K, V>::layout(0).size(), Shape::<K, V>::layout(1).size())
    }
    assert_eq!(shape::<u64, u64>(), (31, 504, 760));
    assert_eq!(shape::<u64, ()>(), (31, 256, 512));
    assert_eq!(shape::<PString, PVec<u8>>(), (10, 488, 576));
    assert_eq!(shape::<u64, [u8; 100]>(), (6, 656, 712));
    assert_eq!(shape::<(), ()>(), (31, 8, 264));
    assert_eq!(shape::<u8, u128>(), (29, 512, 752));
    assert_eq!(Shape::<u8, u128>::layout(0).align(), 16);
    for (capacity, min) in [(Shape::<u64, u64>::CAPACITY, Shape::<u64, u64>::MIN), (6, Shape::<u64, [u8; 100]>::MIN)] {
        // The halves of a full node, without the value in the middle, have enough; so has what is shared by a node that has too few and one that does not fit with it.
        assert!(capacity / 2 >= min && capacity - capacity / 2 > min && 2 * min < capacity);
    }
}

#[derive(Clone, Copy)]
enum Order {
    Up,
    Down,
    Shuffled,
}

impl Order {
    fn numbers(self, len: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = (0..len).collect();
        match self {
            Self::Up => {}
            Self::Down => numbers.reverse(),
            Self::Shuffled => rand::seq::SliceRandom::shuffle(&mut numbers[..], &mut SmallRng::seed_from_u64(len)),
        }
        numbers
    }
}

#[test]
fn a_hundred_thousand_go_in_and_out_in_every_order() {
    in_heap(|section| {
        let len = if cfg!(miri) { 150 } else { 100_000 };
        for insertion in [Order::Up, Order::Down, Order::Shuffled] {
            for removal in [Order::Up, Order::Down, Order::Shuffled] {
                let mut map = PBTreeMap::new_in(section);
                for n in insertion.numbers(len) {
                    assert_eq!(map.insert(n, !n), None);
                }
                map.check();
                assert_eq!(map.len() as u64, len);
                for (i, n) in removal.numbers(len).into_iter().enumerate() {
                    assert_eq!(map.remove(&n), Some(!n));
                    if i % 20_000 == 0 {
                        map.check();
                    }
                }
                assert!(map.is_empty());
                map.check();
            }
        }
    });
}

#[test]
fn what_goes_in_in_order_fills_its_nodes() {
    fn nodes<K, V>(node: Shared<'_, K, V>) -> usize {
        let edges = if node.level() > 0 { 0..node.len() + 1 } else { 0..0 };
        1 + edges.map(|index| nodes(node.child(index))).sum::<usize>()
    }
    in_heap(|section| {
        let len = some(5000);
        let mut map = PBTreeMap::new_in(section);
        (0..len).for_each(|n| assert_eq!(map.insert(n, n), None));
        let least = (len as usize).div_ceil(Shape::<u64, u64>::CAPACITY);
        assert!(nodes(map.root().unwrap()) <= least + least / 8 + 2, "{} nodes", nodes(map.root().unwrap()));
        let copy = map.clone();
        assert_eq!(nodes(copy.root().unwrap()), nodes(map.root().unwrap()));
        // One side is emptied, then the other.
        (0..len / 2).for_each(|_| assert!(map.pop_first().is_some() && map.pop_last().is_some()));
        map.check();
    });
}

#[test]
fn values_without_a_size_and_values_with_a_large_alignment() {
    in_heap(|section| {
        let mut units = PBTreeMap::new_in(section);
        assert_eq!((units.insert((), ()), units.insert((), ()), units.len()), (None, Some(()), 1));
        units.check();
        let mut wide: PBTreeMap<'_, u8, u128> = PBTreeMap::new_in(section);
        (0..some(250) as u8).for_each(|n| assert_eq!(wide.insert(n, u128::from(n) << 100), None));
        wide.check();
        assert!(wide.iter().all(|(n, value)| *value == u128::from(*n) << 100));
        let mut nested = PBTreeMap::new_in(section);
        for n in 0..some(100) {
            let inner: PBTreeMap<'_, u64, PString<'_>> =
                (0..n % 10).map(|n| (n, PString::from_str_in("inner", section))).collect_in(section);
            nested.insert(n, inner);
        }
        nested.check();
        assert_eq!(nested.values().map(|inner| inner.len() as u64).sum::<u64>(), (0..some(100)).map(|n| n % 10).sum());
    });
}
