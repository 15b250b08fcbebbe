//! What maps have in common with std's.

use super::PBTreeMap;
use crate::section::Section;
use crate::typed::{FromIteratorIn, Persist, expect};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Index;

impl<K: Persist + Clone, V: Persist + Clone> Clone for PBTreeMap<'_, K, V> {
    /// Copies keys and values, in the same heap. The nodes of the copy are full.
    fn clone(&self) -> Self {
        let mut copy = Self::of_heap(self.tag());
        for (key, value) in self {
            expect(copy.put_last(key.clone(), value.clone()));
        }
        copy
    }
}

impl<K: Persist + Ord, V: Persist> Extend<(K, V)> for PBTreeMap<'_, K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, values: I) {
        for (key, value) in values {
            self.insert(key, value);
        }
    }
}

impl<'a, K: Persist + Ord + Copy, V: Persist + Copy> Extend<(&'a K, &'a V)> for PBTreeMap<'_, K, V> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, values: I) {
        self.extend(values.into_iter().map(|(key, value)| (*key, *value)));
    }
}

impl<'s, K: Persist + Ord, V: Persist> FromIteratorIn<'s, (K, V)> for PBTreeMap<'s, K, V> {
    /// Sorts what `values` yields first, so the nodes are full. Of several values at one key, the last is kept.
    fn from_iter_in<I: IntoIterator<Item = (K, V)>>(values: I, section: &'s Section<'_>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        // Stable.
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut map = Self::new_in(section);
        let mut values = values.into_iter().peekable();
        while let Some((key, value)) = values.next() {
            if values.peek().is_none_or(|(next, _)| *next != key) {
                expect(map.put_last(key, value));
            }
        }
        map
    }
}

impl<K: Persist + Borrow<Q>, Q: Ord + ?Sized, V: Persist> Index<&Q> for PBTreeMap<'_, K, V> {
    type Output = V;

    /// # Panics
    /// If there is no such key.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no value at this key of the map")
    }
}

impl<K: Persist + PartialEq, V: Persist + PartialEq> PartialEq for PBTreeMap<'_, K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<K: Persist + Eq, V: Persist + Eq> Eq for PBTreeMap<'_, K, V> {}

impl<K: Persist + PartialOrd, V: Persist + PartialOrd> PartialOrd for PBTreeMap<'_, K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other.iter())
    }
}

impl<K: Persist + Ord, V: Persist + Ord> Ord for PBTreeMap<'_, K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<K: Persist + Hash, V: Persist + Hash> Hash for PBTreeMap<'_, K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|pair| pair.hash(state));
    }
}

impl<K: Persist + fmt::Debug, V: Persist + fmt::Debug> fmt::Debug for PBTreeMap<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}
