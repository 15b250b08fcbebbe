//! Iterators over sets, and over what two sets have together.

use super::PHashSet;
use crate::typed::hash_map;
use std::hash::{BuildHasher, Hash};
use std::iter::{Chain, FusedIterator};

/// The values of a set.
pub struct Iter<'a, T>(hash_map::Keys<'a, T, ()>);
/// The values of a set, moved out one by one.
pub struct IntoIter<'s, T>(hash_map::IntoKeys<'s, T, ()>);
/// The values that a set had, moved out one by one.
pub struct Drain<'a, 's, T>(hash_map::Drain<'a, 's, T, ()>);
/// The values that are in both of two sets.
pub struct Intersection<'a, 's, T, S> {
    values: Iter<'a, T>,
    other: &'a PHashSet<'s, T, S>,
}
/// The values of one set that are not in the other.
pub struct Difference<'a, 's, T, S> {
    values: Iter<'a, T>,
    other: &'a PHashSet<'s, T, S>,
}
/// The values that are in one of two sets, but not in both.
pub struct SymmetricDifference<'a, 's, 't, T, S, Z>(Chain<Difference<'a, 't, T, Z>, Difference<'a, 's, T, S>>);
/// The values that are in one of two sets, or in both.
pub struct Union<'a, 's, T, S>(Chain<Iter<'a, T>, Difference<'a, 's, T, S>>);

impl<'s, T, S> PHashSet<'s, T, S> {
    /// The values, in an arbitrary order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self.map.keys())
    }

    /// Takes out all values. They are gone from the set at once, whatever is done with what is returned; the memory is freed with it.
    pub fn drain(&mut self) -> Drain<'_, 's, T> {
        Drain(self.map.drain())
    }
}

impl<'s, T: Eq + Hash, S: BuildHasher> PHashSet<'s, T, S> {
    /// The values that are in both sets.
    pub fn intersection<'a, 't, Z: BuildHasher>(&'a self, other: &'a PHashSet<'t, T, Z>) -> Intersection<'a, 't, T, Z> {
        Intersection { values: self.iter(), other }
    }

    /// The values that are not in `other`.
    pub fn difference<'a, 't, Z: BuildHasher>(&'a self, other: &'a PHashSet<'t, T, Z>) -> Difference<'a, 't, T, Z> {
        Difference { values: self.iter(), other }
    }

    /// The values that are in one of the sets, but not in both.
    pub fn symmetric_difference<'a, 't, Z: BuildHasher>(
        &'a self,
        other: &'a PHashSet<'t, T, Z>,
    ) -> SymmetricDifference<'a, 's, 't, T, S, Z> {
        SymmetricDifference(self.difference(other).chain(other.difference(self)))
    }

    /// The values that are in one of the sets, or in both: each once.
    pub fn union<'a, Z: BuildHasher>(&'a self, other: &'a PHashSet<'_, T, Z>) -> Union<'a, 's, T, S> {
        Union(self.iter().chain(Difference { values: other.iter(), other: self }))
    }
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Iterators of which all that are left come.
macro_rules! exact {
    ($([$($generics:tt)*] $name:ty, $item:ty, $next:expr;)*) => {
        $(
            impl<$($generics)*> Iterator for $name {
                type Item = $item;

                #[inline]
                fn next(&mut self) -> Option<$item> {
                    let next: fn(&mut Self) -> Option<$item> = $next;
                    next(self)
                }

                fn size_hint(&self) -> (usize, Option<usize>) {
                    self.0.size_hint()
                }
            }

            impl<$($generics)*> ExactSizeIterator for $name {}
            impl<$($generics)*> FusedIterator for $name {}
        )*
    };
}

exact! {
    ['a, T] Iter<'a, T>, &'a T, |i| i.0.next();
    [T] IntoIter<'_, T>, T, |i| i.0.next();
    [T] Drain<'_, '_, T>, T, |i| i.0.next().map(|(value, ())| value);
}

/// Iterators of which some may not come.
macro_rules! chosen {
    ($([$($generics:tt)*] $name:ty, $item:ty, $next:expr, $most:expr;)*) => {
        $(
            impl<$($generics)*> Iterator for $name {
                type Item = $item;

                fn next(&mut self) -> Option<$item> {
                    let next: fn(&mut Self) -> Option<$item> = $next;
                    next(self)
                }

                fn size_hint(&self) -> (usize, Option<usize>) {
                    let most: fn(&Self) -> Option<usize> = $most;
                    (0, most(self))
                }
            }

            impl<$($generics)*> FusedIterator for $name {}
        )*
    };
}

chosen! {
    ['a, T: Eq + Hash, S: BuildHasher] Intersection<'a, '_, T, S>, &'a T,
        |i| i.values.find(|value| i.other.contains(*value)), |i| Some(i.values.len());
    ['a, T: Eq + Hash, S: BuildHasher] Difference<'a, '_, T, S>, &'a T,
        |i| i.values.find(|value| !i.other.contains(*value)), |i| Some(i.values.len());
    ['a, T: Eq + Hash, S: BuildHasher, Z: BuildHasher] SymmetricDifference<'a, '_, '_, T, S, Z>, &'a T,
        |i| i.0.next(), |i| i.0.size_hint().1;
    ['a, T: Eq + Hash, Z: BuildHasher] Union<'a, '_, T, Z>, &'a T, |i| i.0.next(), |i| i.0.size_hint().1;
}

impl<'s, T, S> IntoIterator for PHashSet<'s, T, S> {
    type Item = T;
    type IntoIter = IntoIter<'s, T>;

    fn into_iter(self) -> IntoIter<'s, T> {
        IntoIter(self.map.into_keys())
    }
}

impl<'a, T, S> IntoIterator for &'a PHashSet<'_, T, S> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
