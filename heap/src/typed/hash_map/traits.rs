//! What maps have in common with other collections.

use super::{PBuildHasher, PHashMap, Table, hash_pair};
use crate::section::Section;
use crate::typed::{FromIteratorIn, expect};
use hashbrown::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::ops::Index;

impl<K: Clone + Eq + Hash, V: Clone, S: Clone + BuildHasher> Clone for PHashMap<'_, K, V, S> {
    /// Copies the pairs, in the same heap, with the same hasher.
    ///
    /// # Panics
    /// If the heap is full, or if this thread is not inside a section of it.
    fn clone(&self) -> Self {
        let hasher = self.hasher.clone();
        let mut copy = Self { table: Table::new(self.table.heap_tag()), hasher, _seen_in: PhantomData };
        copy.reserve(self.len());
        for (key, value) in self {
            let pair = (key.clone(), value.clone());
            let hash = copy.hasher.hash_one(&pair.0);
            expect(copy.table.try_insert(hash, pair, hash_pair(&copy.hasher)));
        }
        copy
    }
}

impl<'t, K: Eq + Hash, V: PartialEq, S: BuildHasher, Z: BuildHasher> PartialEq<PHashMap<'t, K, V, Z>>
    for PHashMap<'_, K, V, S>
{
    fn eq(&self, other: &PHashMap<'t, K, V, Z>) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key).is_some_and(|v| value == v))
    }
}

impl<K: Eq + Hash, V: Eq, S: BuildHasher> Eq for PHashMap<'_, K, V, S> {}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for PHashMap<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<Q: ?Sized + Hash + Equivalent<K>, K: Eq + Hash, V, S: BuildHasher> Index<&Q> for PHashMap<'_, K, V, S> {
    type Output = V;

    /// # Panics
    /// If there is no such key.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no value under this key")
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Extend<(K, V)> for PHashMap<'_, K, V, S> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        let pairs = pairs.into_iter();
        // As std does: half of it, if there may be keys that are there already.
        let more = pairs.size_hint().0;
        self.reserve(if self.is_empty() { more } else { more.div_ceil(2) });
        pairs.for_each(|(key, value)| drop(self.insert(key, value)));
    }
}

impl<'a, K: Eq + Hash + Copy + 'a, V: Copy + 'a, S: BuildHasher> Extend<(&'a K, &'a V)> for PHashMap<'_, K, V, S> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, pairs: I) {
        self.extend(pairs.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<'s, K: Eq + Hash, V> FromIteratorIn<'s, (K, V)> for PHashMap<'s, K, V, PBuildHasher> {
    fn from_iter_in<I: IntoIterator<Item = (K, V)>>(pairs: I, section: &'s Section<'_>) -> Self {
        let mut map = Self::new_in(section);
        map.extend(pairs);
        map
    }
}
