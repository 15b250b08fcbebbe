//! Entries: a place in a map, occupied or not, found once.
//!
//! An entry that is leaked leaves the map as it is: nothing is taken out of the table, and nothing reserved in it, before a method of the entry does so and is done with it.

use super::{PHashMap, hash_pair};
use crate::base::Result;
use crate::typed::expect;
use crate::typed::heap_alloc::Tagged;
use hashbrown::{Equivalent, hash_table};
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// A place in a map.
#[derive(Debug)]
pub enum Entry<'a, 's, K, V, S> {
    /// There is a pair.
    Occupied(OccupiedEntry<'a, K, V>),
    /// There is none.
    Vacant(VacantEntry<'a, 's, K, V, S>),
}

/// A place in a map, found with a borrowed key.
#[derive(Debug)]
pub enum EntryRef<'a, 's, 'q, K, Q: ?Sized, V, S, F> {
    /// There is a pair.
    Occupied(OccupiedEntry<'a, K, V>),
    /// There is none.
    Vacant(VacantEntryRef<'a, 's, 'q, K, Q, V, S, F>),
}

/// A place with a pair.
pub struct OccupiedEntry<'a, K, V> {
    found: hash_table::OccupiedEntry<'a, (K, V), Tagged>,
}

/// A place without a pair.
pub struct VacantEntry<'a, 's, K, V, S> {
    map: &'a mut PHashMap<'s, K, V, S>,
    hash: u64,
    key: K,
}

/// A place without a pair, and a function that makes the key if one is put there.
pub struct VacantEntryRef<'a, 's, 'q, K, Q: ?Sized, V, S, F> {
    map: &'a mut PHashMap<'s, K, V, S>,
    hash: u64,
    key: &'q Q,
    own: F,
}

impl<'s, K: Eq + Hash, V, S: BuildHasher> PHashMap<'s, K, V, S> {
    /// The place of `key`.
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, 's, K, V, S> {
        let hash = self.hasher.hash_one(&key);
        match self.index_of(hash, &key) {
            Some(index) => Entry::Occupied(self.occupied(index)),
            None => Entry::Vacant(VacantEntry { map: self, hash, key }),
        }
    }

    /// The place of `key`; `own` makes a key of it if a value is put there: `map.entry_ref("word", |text| PString::from_str_in(text, &section))`. It must be equal, and
    /// have the same hash.
    #[inline]
    pub fn entry_ref<'q, Q: ?Sized + Hash + Equivalent<K>, F: FnOnce(&Q) -> K>(
        &mut self,
        key: &'q Q,
        own: F,
    ) -> EntryRef<'_, 's, 'q, K, Q, V, S, F> {
        let hash = self.hasher.hash_one(key);
        match self.index_of(hash, key) {
            Some(index) => EntryRef::Occupied(self.occupied(index)),
            None => EntryRef::Vacant(VacantEntryRef { map: self, hash, key, own }),
        }
    }

    #[inline]
    fn index_of<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<usize> {
        self.table.get()?.find_bucket_index(hash, |(k, _)| key.equivalent(k))
    }

    #[inline]
    fn occupied(&mut self, index: usize) -> OccupiedEntry<'_, K, V> {
        let found = self.table.get_mut().and_then(|table| table.get_bucket_entry(index).ok());
        OccupiedEntry { found: found.expect("a pair was just found there") }
    }
}

impl<'a, K, V> OccupiedEntry<'a, K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.found.get().0
    }

    /// The value.
    pub fn get(&self) -> &V {
        &self.found.get().1
    }

    /// The value, to change it.
    pub fn get_mut(&mut self) -> &mut V {
        &mut self.found.get_mut().1
    }

    /// The value, to change it for as long as the map is borrowed.
    pub fn into_mut(self) -> &'a mut V {
        &mut self.found.into_mut().1
    }

    /// Puts `value` there, and returns what was there.
    pub fn insert(&mut self, value: V) -> V {
        std::mem::replace(self.get_mut(), value)
    }

    /// Takes out the value.
    pub fn remove(self) -> V {
        self.remove_entry().1
    }

    /// Takes out the pair.
    pub fn remove_entry(self) -> (K, V) {
        self.found.remove().0
    }
}

impl<'a, K: Eq + Hash, V, S: BuildHasher> VacantEntry<'a, '_, K, V, S> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The key, given back.
    pub fn into_key(self) -> K {
        self.key
    }

    /// Puts `value` there.
    #[inline]
    pub fn insert(self, value: V) -> &'a mut V {
        expect(self.try_insert(value))
    }

    /// Puts `value` there.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]; the key and `value` are dropped then.
    #[inline]
    pub fn try_insert(self, value: V) -> Result<&'a mut V> {
        let PHashMap { table, hasher, .. } = self.map;
        Ok(&mut table.try_insert(self.hash, (self.key, value), hash_pair(hasher))?.1)
    }
}

impl<'a, K: Eq + Hash, Q: ?Sized, V, S: BuildHasher, F: FnOnce(&Q) -> K> VacantEntryRef<'a, '_, '_, K, Q, V, S, F> {
    /// The borrowed key.
    pub fn key(&self) -> &Q {
        self.key
    }

    /// Makes the key, and puts `value` there.
    pub fn insert(self, value: V) -> &'a mut V {
        expect(self.try_insert(value))
    }

    /// Makes the key, and puts `value` there.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]; `value` is dropped then.
    pub fn try_insert(self, value: V) -> Result<&'a mut V> {
        let Self { map, hash, key, own } = self;
        VacantEntry { map, hash, key: own(key) }.try_insert(value)
    }
}

/// What both kinds of entry have.
macro_rules! entries {
    ($($generics:tt)*) => {
        impl<'a, $($generics)* {
            /// The value there; `value`, if there was none.
            #[inline]
            pub fn or_insert(self, value: V) -> &'a mut V {
                self.or_insert_with(|| value)
            }

            /// The value there; what `make` returns, if there was none.
            #[inline]
            pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
                expect(self.or_try_insert_with(|| Ok(make())))
            }

            /// The value there; the default, if there was none.
            pub fn or_default(self) -> &'a mut V
            where
                V: Default,
            {
                self.or_insert_with(V::default)
            }

            /// The value there; what `make` returns, if there was none.
            ///
            /// # Errors
            /// What `make` returns; as for [`PHashMap::try_reserve`].
            #[inline]
            pub fn or_try_insert_with(self, make: impl FnOnce() -> Result<V>) -> Result<&'a mut V> {
                match self {
                    Self::Occupied(entry) => Ok(entry.into_mut()),
                    Self::Vacant(entry) => entry.try_insert(make()?),
                }
            }

            /// Calls `change` with the value, if there is one.
            #[must_use]
            pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
                if let Self::Occupied(entry) = &mut self {
                    change(entry.get_mut());
                }
                self
            }
        }
    };
}

entries!('s, K: Eq + Hash, V, S: BuildHasher> Entry<'a, 's, K, V, S>);
entries!('s, 'q, K: Eq + Hash, Q: ?Sized, V, S: BuildHasher, F: FnOnce(&Q) -> K> EntryRef<'a, 's, 'q, K, Q, V, S, F>);

impl<'a, K: Eq + Hash, V, S: BuildHasher> Entry<'a, '_, K, V, S> {
    /// The key.
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }

    /// The value there; what `make` returns for the key, if there was none.
    pub fn or_insert_with_key(self, make: impl FnOnce(&K) -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => {
                let value = make(&entry.key);
                entry.insert(value)
            }
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for OccupiedEntry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OccupiedEntry").field("key", self.key()).field("value", self.get()).finish()
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for VacantEntry<'_, '_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntry").field(&self.key).finish()
    }
}

impl<K, Q: ?Sized + fmt::Debug, V, S, F> fmt::Debug for VacantEntryRef<'_, '_, '_, K, Q, V, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VacantEntryRef").field(&self.key).finish()
    }
}
