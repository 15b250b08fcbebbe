//! [`Entry`]: the place of a key in a map, found once.

use super::PBTreeMap;
use super::path::{Path, Spot};
use crate::base::Result;
use crate::typed::{Persist, expect};
use std::fmt;
use std::mem;

/// The place of a key in a map.
pub enum Entry<'a, 's, K, V> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, 's, K, V>),
    /// It is not.
    Vacant(VacantEntry<'a, 's, K, V>),
}

/// A key that is in a map.
pub struct OccupiedEntry<'a, 's, K, V> {
    pub(super) map: &'a mut PBTreeMap<'s, K, V>,
    pub(super) spot: Spot,
    pub(super) path: Path,
}

/// A key that is not in a map, and where it would be.
pub struct VacantEntry<'a, 's, K, V> {
    pub(super) map: &'a mut PBTreeMap<'s, K, V>,
    pub(super) path: Path,
    pub(super) key: K,
}

impl<'a, 's, K: Persist, V: Persist> Entry<'a, 's, K, V> {
    /// The value, which is `value` if there was none.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value, which is `make()` if there was none.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        self.or_insert_with_key(|_| make())
    }

    /// The value, which is `make(key)` if there was none.
    pub fn or_insert_with_key(self, make: impl FnOnce(&K) -> V) -> &'a mut V {
        expect(self.or_try_insert_with_key(make))
    }

    /// The value, which is `make(key)` if there was none.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the map is as it was, and key and value are dropped.
    pub fn or_try_insert_with_key(self, make: impl FnOnce(&K) -> V) -> Result<&'a mut V> {
        match self {
            Self::Occupied(entry) => Ok(entry.into_mut()),
            Self::Vacant(entry) => {
                let value = make(&entry.key);
                entry.try_insert(value)
            }
        }
    }

    /// The value, which is the type's default if there was none.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Changes the value, if there is one.
    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }

    /// Puts a value at the key, whether or not there was one.
    pub fn insert_entry(self, value: V) -> OccupiedEntry<'a, 's, K, V>
    where
        K: Ord,
    {
        match self {
            Self::Occupied(mut entry) => {
                entry.insert(value);
                entry
            }
            Self::Vacant(entry) => entry.insert_entry(value),
        }
    }

    /// The key.
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => &entry.key,
        }
    }
}

impl<'a, K: Persist, V: Persist> OccupiedEntry<'a, '_, K, V> {
    /// The key in the map.
    pub fn key(&self) -> &K {
        self.pair().0
    }

    /// The value.
    pub fn get(&self) -> &V {
        self.pair().1
    }

    fn pair(&self) -> (&K, &V) {
        // SAFETY: a node of the map, which this entry borrows.
        unsafe { super::node::Shared::new(self.spot.at) }.pair(self.spot.index)
    }

    /// The value, to change it.
    pub fn get_mut(&mut self) -> &mut V {
        self.map.pair_mut(self.spot).1
    }

    /// The value, for as long as the map is borrowed.
    pub fn into_mut(self) -> &'a mut V {
        self.map.pair_mut(self.spot).1
    }

    /// Puts another value in its place.
    pub fn insert(&mut self, value: V) -> V {
        mem::replace(self.get_mut(), value)
    }

    /// Takes the value out of the map.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Takes key and value out of the map.
    pub fn remove_entry(self) -> (K, V) {
        self.map.take(&self.path)
    }
}

impl<'a, 's, K: Persist, V: Persist> VacantEntry<'a, 's, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Gives the key back.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Puts a value at the key.
    pub fn insert(self, value: V) -> &'a mut V {
        expect(self.try_insert(value))
    }

    /// Puts a value at the key.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the map is as it was, and key and value are dropped.
    pub fn try_insert(self, value: V) -> Result<&'a mut V> {
        let spot = self.map.put(&self.path, self.key, value)?;
        Ok(self.map.pair_mut(spot).1)
    }

    /// Puts a value at the key, and returns the entry that it has then.
    pub fn insert_entry(self, value: V) -> OccupiedEntry<'a, 's, K, V>
    where
        K: Ord,
    {
        let spot = expect(self.map.put(&self.path, self.key, value));
        // SAFETY: a node of the map, which is borrowed alone; the reference ends with the search.
        let key = unsafe { super::node::Shared::<K, V>::new(spot.at) }.pair(spot.index).0;
        let Ok((spot, path)) = self.map.find(key) else { panic!("the order of the keys contradicts itself") };
        OccupiedEntry { map: self.map, spot, path }
    }
}

impl<K: Persist + fmt::Debug, V: Persist + fmt::Debug> fmt::Debug for Entry<'_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => f.debug_tuple("Entry").field(entry).finish(),
            Self::Vacant(entry) => f.debug_tuple("Entry").field(entry).finish(),
        }
    }
}

impl<K: Persist + fmt::Debug, V: Persist + fmt::Debug> fmt::Debug for OccupiedEntry<'_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

impl<K: Persist + fmt::Debug, V: Persist> fmt::Debug for VacantEntry<'_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(self.key()).finish()
    }
}
