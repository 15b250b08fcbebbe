//! [`PHashMap`]: a hash map in a heap. What of it lies in the heap and why that is sound is said in `table.rs`; here are the methods of std's map.

use super::OwnsIn;
use super::expect;
use crate::base::Result;
use crate::section::Section;
use hashbrown::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

mod entry;
mod hasher;
mod iter;
mod persist;
mod table;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod traits;

pub use entry::{Entry, EntryRef, OccupiedEntry, VacantEntry, VacantEntryRef};
pub use hasher::{PBuildHasher, PHasher, Seeds};
pub use iter::{Drain, IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, Values, ValuesMut};
use table::Table;

/// A hash map in a heap. The persistent `HashMap`: a table of the crate `hashbrown` in one object of the heap. An empty one owns no memory.
///
/// ```
/// # use strewn::{Heap, PHashMap, PString};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("map.heap"))?;
/// let section = heap.enter();
/// let mut counts: PHashMap<PString, u64> = PHashMap::new_in(&section);
/// for word in "to be or not to be".split(' ') {
///     let key = |text: &str| PString::from_str_in(text, &section);
///     *counts.entry_ref(word, key).or_insert(0) += 1;
/// }
/// assert_eq!(counts["be"], 2);
/// assert_eq!(counts.get("question"), None);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// Keys are looked up by anything that is [`Equivalent`] to them, as `str` is to [`PString`](crate::PString). The order is arbitrary, but the same operations lead to the
/// same order.
///
/// # Hashes
/// Where a key lies depends on its hash, so its hash must not change as long as the heap exists. The default hasher, [`PBuildHasher`], is the same in every process and every
/// build; `Hash` of your own types, and of the standard library's, is what the program makes of it. A key whose hash has changed is not found; nothing else goes wrong.
/// [`HeapOptions::verify`](crate::HeapOptions::verify) finds out: each key must be where it is looked for, or the root is refused.
///
/// # What is stored
/// The table as hashbrown has it in memory. The description of the type holds the version of hashbrown, how many control bytes it looks at in one step (16 on x86-64, 8 on
/// other processors), and the order of its fields: a program that was built with others is refused (`RootType`), instead of misreading. What else is trusted when a heap is
/// opened is that its files hold what was written, which their checksums say; with `verify`, control bytes, counts, addresses, keys and values are looked at before they are
/// used.
///
/// Writes are caught by page protection, as hashbrown knows nothing of write barriers: tables of more than 2 KiB by pages, smaller ones whole.
///
/// # Panics
/// What grows panics if the heap is full, or if this thread is inside no section of the heap; the `try_` twins return an error instead. After either the map is as it was.
/// (`try_insert` is not std's unstable method of that name: it replaces, as `insert` does.) After a panic in `Hash` while the map grows, values may have been dropped, as in std.
#[repr(C)]
pub struct PHashMap<'s, K, V, S = PBuildHasher> {
    table: Table<(K, V)>,
    hasher: S,
    _seen_in: OwnsIn<'s, ()>,
}

/// Nothing to do but to say that dropping a map wants its section: it frees the table, which does not have that lifetime.
impl<K, V, S> Drop for PHashMap<'_, K, V, S> {
    fn drop(&mut self) {}
}

impl<'s, K, V> PHashMap<'s, K, V> {
    /// An empty map in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self::with_hasher_in(PBuildHasher::new_in(section), section)
    }
}

impl<'s, K: Eq + Hash, V> PHashMap<'s, K, V> {
    /// An empty map with room for `capacity` pairs.
    pub fn with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Self {
        expect(Self::try_with_capacity_in(capacity, section))
    }

    /// An empty map with room for `capacity` pairs.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`.
    pub fn try_with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Result<Self> {
        let mut map = Self::new_in(section);
        map.try_reserve(capacity)?;
        Ok(map)
    }
}

impl<'s, K, V, S> PHashMap<'s, K, V, S> {
    /// An empty map that hashes with `hasher`. Hashes are part of what is stored: it must make the same ones in every process and every build.
    pub fn with_hasher_in(hasher: S, section: &'s Section<'_>) -> Self {
        Self { table: Table::new(section.engine().tag()), hasher, _seen_in: PhantomData }
    }

    /// The hasher.
    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// How many pairs there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.get().map_or(0, |table| table.len())
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pairs fit without growing.
    pub fn capacity(&self) -> usize {
        self.table.get().map_or(0, |table| table.capacity())
    }

    /// Drops all pairs; the memory is kept.
    pub fn clear(&mut self) {
        if let Some(table) = self.table.get_mut() {
            table.clear();
        }
    }

    /// Keeps the pairs for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        if let Some(table) = self.table.get_mut() {
            table.retain(|(key, value)| keep(key, value));
        }
    }
}

/// Computes hashes of pairs.
fn hash_pair<K: Hash, V, S: BuildHasher>(hasher: &S) -> impl Fn(&(K, V)) -> u64 {
    |(key, _)| hasher.hash_one(key)
}

impl<'s, K: Eq + Hash, V, S: BuildHasher> PHashMap<'s, K, V, S> {
    /// Makes room for `more` pairs beyond the present ones.
    pub fn reserve(&mut self, more: usize) {
        expect(self.try_reserve(more));
    }

    /// Makes room for `more` pairs beyond the present ones.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`; `InvalidArgument` for more than fit in the address space. The map is as it was.
    pub fn try_reserve(&mut self, more: usize) -> Result<()> {
        self.table.try_reserve(more, hash_pair(&self.hasher))
    }

    /// Moves the pairs to the smallest memory that they fit into; none, if there are none.
    pub fn shrink_to_fit(&mut self) {
        self.shrink_to(0);
    }

    /// Moves the pairs to smaller memory that has room for `capacity` pairs.
    pub fn shrink_to(&mut self, capacity: usize) {
        expect(self.try_shrink_to(capacity));
    }

    /// Moves the pairs to smaller memory that has room for `capacity` pairs.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]: for a while there are both.
    pub fn try_shrink_to(&mut self, capacity: usize) -> Result<()> {
        self.table.try_shrink_to(capacity, hash_pair(&self.hasher))
    }

    /// Puts `value` under `key`, and returns what was there. A key that is there stays.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        expect(self.try_insert(key, value))
    }

    /// Puts `value` under `key`, and returns what was there. A key that is there stays.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]; `key` and `value` are dropped then.
    #[inline]
    pub fn try_insert(&mut self, key: K, value: V) -> Result<Option<V>> {
        let hash = self.hasher.hash_one(&key);
        if let Some(table) = self.table.get_mut()
            && let Some((_, old)) = table.find_mut(hash, |(k, _)| *k == key)
        {
            return Ok(Some(std::mem::replace(old, value)));
        }
        self.table.try_insert(hash, (key, value), hash_pair(&self.hasher))?;
        Ok(None)
    }

    /// The value under `key`.
    #[inline]
    pub fn get<Q: ?Sized + Hash + Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        Some(&self.find(key)?.1)
    }

    /// The value under `key`, to change it.
    #[inline]
    pub fn get_mut<Q: ?Sized + Hash + Equivalent<K>>(&mut self, key: &Q) -> Option<&mut V> {
        let table = self.table.get_mut()?;
        Some(&mut table.find_mut(self.hasher.hash_one(key), |(k, _)| key.equivalent(k))?.1)
    }

    /// The pair under `key`.
    #[inline]
    pub fn get_key_value<Q: ?Sized + Hash + Equivalent<K>>(&self, key: &Q) -> Option<(&K, &V)> {
        self.find(key).map(|(key, value)| (key, value))
    }

    /// Whether there is a pair under `key`.
    #[inline]
    pub fn contains_key<Q: ?Sized + Hash + Equivalent<K>>(&self, key: &Q) -> bool {
        self.find(key).is_some()
    }

    #[inline]
    fn find<Q: ?Sized + Hash + Equivalent<K>>(&self, key: &Q) -> Option<&(K, V)> {
        self.table.get()?.find(self.hasher.hash_one(key), |(k, _)| key.equivalent(k))
    }

    /// Takes out the value under `key`.
    #[inline]
    pub fn remove<Q: ?Sized + Hash + Equivalent<K>>(&mut self, key: &Q) -> Option<V> {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes out the pair under `key`.
    #[inline]
    pub fn remove_entry<Q: ?Sized + Hash + Equivalent<K>>(&mut self, key: &Q) -> Option<(K, V)> {
        let table = self.table.get_mut()?;
        let found = table.find_entry(self.hasher.hash_one(key), |(k, _)| key.equivalent(k)).ok()?;
        Some(found.remove().0)
    }
}
