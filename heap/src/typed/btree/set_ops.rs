//! What two sets have in common, or not: iterators that go through both at once.

use super::PBTreeSet;
use super::set::Iter;
use crate::typed::{Persist, expect};
use std::cmp::Ordering;
use std::iter::{FusedIterator, Peekable};
use std::ops::{BitAnd, BitOr, BitXor, Sub};

/// Goes through two sets in order: each value with whether it is in the first, in both, or in the second.
struct Both<'a, T: Persist> {
    first: Peekable<Iter<'a, T>>,
    second: Peekable<Iter<'a, T>>,
}

impl<T: Persist> Clone for Both<'_, T> {
    fn clone(&self) -> Self {
        Self { first: self.first.clone(), second: self.second.clone() }
    }
}

impl<'a, T: Persist + Ord> Both<'a, T> {
    fn new(first: &'a PBTreeSet<'_, T>, second: &'a PBTreeSet<'_, T>) -> Self {
        Self { first: first.iter().peekable(), second: second.iter().peekable() }
    }

    /// `Less` if the value is in the first set only.
    fn next(&mut self) -> Option<(Ordering, &'a T)> {
        let side = match (self.first.peek(), self.second.peek()) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let first = if side.is_le() { self.first.next() } else { None };
        let second = if side.is_ge() { self.second.next() } else { None };
        first.or(second).map(|value| (side, value))
    }
}

/// The iterators: which of the values each yields.
macro_rules! operations {
    ($($(#[$what:meta])* $name:ident, $method:ident, $yields:expr, $at_most:expr, $operator:ident, $call:ident;)*) => {
        $(
            $(#[$what])*
            pub struct $name<'a, T: Persist>(Both<'a, T>);

            impl<'a, T: Persist + Ord> Iterator for $name<'a, T> {
                type Item = &'a T;
                fn next(&mut self) -> Option<&'a T> {
                    let yields: fn(Ordering) -> bool = $yields;
                    loop {
                        let (side, value) = self.0.next()?;
                        if yields(side) {
                            return Some(value);
                        }
                    }
                }
                fn size_hint(&self) -> (usize, Option<usize>) {
                    let at_most: fn(usize, usize) -> usize = $at_most;
                    (0, Some(at_most(self.0.first.len(), self.0.second.len())))
                }
            }

            impl<T: Persist + Ord> FusedIterator for $name<'_, T> {}

            impl<T: Persist> Clone for $name<'_, T> {
                fn clone(&self) -> Self {
                    Self(self.0.clone())
                }
            }

            impl<T: Persist + Ord> PBTreeSet<'_, T> {
                $(#[$what])*
                pub fn $method<'a>(&'a self, other: &'a PBTreeSet<'_, T>) -> $name<'a, T> {
                    $name(Both::new(self, other))
                }
            }

            impl<'s, T: Persist + Ord + Clone> $operator<&PBTreeSet<'_, T>> for &PBTreeSet<'s, T> {
                type Output = PBTreeSet<'s, T>;
                /// A set of copies, in the same heap.
                fn $call(self, other: &PBTreeSet<'_, T>) -> PBTreeSet<'s, T> {
                    self.of_copies(self.$method(other))
                }
            }
        )*
    };
}

operations! {
    /// The values that are in one set or the other, or both.
    Union, union, |_| true, |a, b| a + b, BitOr, bitor;
    /// The values that are in both sets.
    Intersection, intersection, Ordering::is_eq, |a, b| a.min(b), BitAnd, bitand;
    /// The values that are in the first set, and not in the second.
    Difference, difference, Ordering::is_lt, |a, _| a, Sub, sub;
    /// The values that are in one set or the other, but not in both.
    SymmetricDifference, symmetric_difference, Ordering::is_ne, |a, b| a + b, BitXor, bitxor;
}

impl<'s, T: Persist + Ord> PBTreeSet<'s, T> {
    /// Whether all values of this set are in `other`.
    pub fn is_subset(&self, other: &PBTreeSet<'_, T>) -> bool {
        self.len() <= other.len() && self.difference(other).next().is_none()
    }

    /// Whether all values of `other` are in this set.
    pub fn is_superset(&self, other: &PBTreeSet<'_, T>) -> bool {
        other.is_subset(self)
    }

    /// Whether no value is in both sets.
    pub fn is_disjoint(&self, other: &PBTreeSet<'_, T>) -> bool {
        self.intersection(other).next().is_none()
    }

    /// A set, beside this one, of copies of `values`, which are in order.
    fn of_copies<'a>(&self, values: impl Iterator<Item = &'a T>) -> PBTreeSet<'s, T>
    where
        T: Clone + 'a,
    {
        let mut set = PBTreeSet { map: super::PBTreeMap::of_heap(self.map.tag()) };
        for value in values {
            expect(set.map.put_last(value.clone(), ()));
        }
        set
    }
}
