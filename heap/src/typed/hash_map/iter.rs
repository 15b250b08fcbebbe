//! Iterators over maps.
//!
//! Those that move pairs out take the whole table out of the map first: whatever becomes of them, the map is a map without a table (H1 in `table.rs`).

use super::PHashMap;
use crate::typed::OwnsIn;
use crate::typed::heap_alloc::Tagged;
use hashbrown::hash_table;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

/// The pairs of a map.
pub struct Iter<'a, K, V>(hash_table::Iter<'a, (K, V)>);
/// The pairs of a map, to change the values.
pub struct IterMut<'a, K, V>(hash_table::IterMut<'a, (K, V)>);
/// The keys of a map.
pub struct Keys<'a, K, V>(Iter<'a, K, V>);
/// The values of a map.
pub struct Values<'a, K, V>(Iter<'a, K, V>);
/// The values of a map, to change them.
pub struct ValuesMut<'a, K, V>(IterMut<'a, K, V>);
/// The pairs of a map, moved out one by one.
pub struct IntoIter<'s, K, V> {
    pairs: Option<hash_table::IntoIter<(K, V), Tagged>>,
    _seen_in: OwnsIn<'s, ()>,
}
/// As that of the map: dropping it frees the table.
impl<K, V> Drop for IntoIter<'_, K, V> {
    fn drop(&mut self) {}
}

/// The pairs that a map had, moved out one by one.
pub struct Drain<'a, 's, K, V> {
    pairs: IntoIter<'s, K, V>,
    _map: PhantomData<&'a mut (K, V)>,
}
/// The keys of a map, moved out one by one.
pub struct IntoKeys<'s, K, V>(IntoIter<'s, K, V>);
/// The values of a map, moved out one by one.
pub struct IntoValues<'s, K, V>(IntoIter<'s, K, V>);

impl<'s, K, V, S> PHashMap<'s, K, V, S> {
    /// The pairs, in an arbitrary order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(self.table.get().map(|table| table.iter()).unwrap_or_default())
    }

    /// The pairs, in an arbitrary order, to change the values.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut(self.table.get_mut().map(|table| table.iter_mut()).unwrap_or_default())
    }

    /// The keys, in an arbitrary order.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, in an arbitrary order.
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// The values, in an arbitrary order, to change them.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// Takes out all pairs. They are gone from the map at once, whatever is done with what is returned; the memory is freed with it.
    pub fn drain(&mut self) -> Drain<'_, 's, K, V> {
        Drain { pairs: self.take_all(), _map: PhantomData }
    }

    /// The keys, moved out of the map.
    pub fn into_keys(self) -> IntoKeys<'s, K, V> {
        IntoKeys(self.into_iter())
    }

    /// The values, moved out of the map.
    pub fn into_values(self) -> IntoValues<'s, K, V> {
        IntoValues(self.into_iter())
    }

    fn take_all(&mut self) -> IntoIter<'s, K, V> {
        IntoIter { pairs: self.table.take().map(IntoIterator::into_iter), _seen_in: PhantomData }
    }
}

impl<K, V> IntoIter<'_, K, V> {
    fn left(&self) -> usize {
        self.pairs.as_ref().map_or(0, ExactSizeIterator::len)
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Clone for Keys<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Clone for Values<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// `$next` makes the item of what the iterator within yields; `$left` is how many are left.
macro_rules! iterators {
    ($([$($generics:tt)*] $name:ty, $item:ty, $inner:expr, $next:expr, $left:expr;)*) => {
        $(
            impl<$($generics)*> Iterator for $name {
                type Item = $item;

                #[inline]
                fn next(&mut self) -> Option<$item> {
                    let inner: fn(&mut Self) -> Option<_> = $inner;
                    inner(self).map($next)
                }

                fn size_hint(&self) -> (usize, Option<usize>) {
                    let left: fn(&Self) -> usize = $left;
                    (left(self), Some(left(self)))
                }
            }

            impl<$($generics)*> ExactSizeIterator for $name {}
            impl<$($generics)*> FusedIterator for $name {}
        )*
    };
}

iterators! {
    ['a, K, V] Iter<'a, K, V>, (&'a K, &'a V), |i| i.0.next(), |(key, value)| (key, value), |i| i.0.len();
    ['a, K, V] IterMut<'a, K, V>, (&'a K, &'a mut V), |i| i.0.next(), |(key, value)| (&*key, value), |i| i.0.len();
    ['a, K, V] Keys<'a, K, V>, &'a K, |i| i.0.next(), |(key, _)| key, |i| i.0.len();
    ['a, K, V] Values<'a, K, V>, &'a V, |i| i.0.next(), |(_, value)| value, |i| i.0.len();
    ['a, K, V] ValuesMut<'a, K, V>, &'a mut V, |i| i.0.next(), |(_, value)| value, |i| i.0.len();
    [K, V] IntoIter<'_, K, V>, (K, V), |i| i.pairs.as_mut()?.next(), |pair| pair, IntoIter::left;
    [K, V] Drain<'_, '_, K, V>, (K, V), |i| i.pairs.next(), |pair| pair, |i| i.pairs.left();
    [K, V] IntoKeys<'_, K, V>, K, |i| i.0.next(), |(key, _)| key, |i| i.0.left();
    [K, V] IntoValues<'_, K, V>, V, |i| i.0.next(), |(_, value)| value, |i| i.0.left();
}

impl<'s, K, V, S> IntoIterator for PHashMap<'s, K, V, S> {
    type Item = (K, V);
    type IntoIter = IntoIter<'s, K, V>;

    fn into_iter(mut self) -> IntoIter<'s, K, V> {
        self.take_all()
    }
}

impl<'a, K, V, S> IntoIterator for &'a PHashMap<'_, K, V, S> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V, S> IntoIterator for &'a mut PHashMap<'_, K, V, S> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
