//! [`PHashSet`]: a hash set in a heap, which is a map without values.

use super::{FromIteratorIn, PBuildHasher, PHashMap, Persist, Schema, Walker, expect};
use crate::base::Result;
use crate::section::Section;
use hashbrown::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};

mod iter;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use iter::{Difference, Drain, Intersection, IntoIter, Iter, SymmetricDifference, Union};

/// A hash set in a heap. The persistent `HashSet`. An empty one owns no memory.
///
/// ```
/// # use strewn::{CollectIn, Heap, PHashSet};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("set.heap"))?;
/// let section = heap.enter();
/// let even: PHashSet<u64> = (0..10).step_by(2).collect_in(&section);
/// let low: PHashSet<u64> = (0..5).collect_in(&section);
/// let mut both: Vec<_> = even.intersection(&low).copied().collect();
/// both.sort();
/// assert_eq!(both, [0, 2, 4]);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// What is said of [`PHashMap`] goes for it too: of hashes, of what is stored, and of panics.
#[repr(transparent)]
pub struct PHashSet<'s, T, S = PBuildHasher> {
    map: PHashMap<'s, T, (), S>,
}

impl<'s, T> PHashSet<'s, T> {
    /// An empty set in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { map: PHashMap::new_in(section) }
    }
}

impl<'s, T: Eq + Hash> PHashSet<'s, T> {
    /// An empty set with room for `capacity` values.
    pub fn with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Self {
        Self { map: PHashMap::with_capacity_in(capacity, section) }
    }

    /// An empty set with room for `capacity` values.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`.
    pub fn try_with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Result<Self> {
        Ok(Self { map: PHashMap::try_with_capacity_in(capacity, section)? })
    }
}

impl<'s, T, S> PHashSet<'s, T, S> {
    /// An empty set that hashes with `hasher`, which must make the same hashes in every process and every build.
    pub fn with_hasher_in(hasher: S, section: &'s Section<'_>) -> Self {
        Self { map: PHashMap::with_hasher_in(hasher, section) }
    }

    /// The hasher.
    pub fn hasher(&self) -> &S {
        self.map.hasher()
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many values fit without growing.
    pub fn capacity(&self) -> usize {
        self.map.capacity()
    }

    /// Drops all values; the memory is kept.
    pub fn clear(&mut self) {
        self.map.clear();
    }

    /// Keeps the values for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.map.retain(|value, ()| keep(value));
    }
}

impl<'s, T: Eq + Hash, S: BuildHasher> PHashSet<'s, T, S> {
    /// Makes room for `more` values beyond the present ones.
    pub fn reserve(&mut self, more: usize) {
        self.map.reserve(more);
    }

    /// Makes room for `more` values beyond the present ones.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`].
    pub fn try_reserve(&mut self, more: usize) -> Result<()> {
        self.map.try_reserve(more)
    }

    /// Moves the values to the smallest memory that they fit into; none, if there are none.
    pub fn shrink_to_fit(&mut self) {
        self.map.shrink_to_fit();
    }

    /// Moves the values to smaller memory that has room for `capacity` values.
    pub fn shrink_to(&mut self, capacity: usize) {
        self.map.shrink_to(capacity);
    }

    /// Moves the values to smaller memory that has room for `capacity` values.
    ///
    /// # Errors
    /// As for [`PHashMap::try_shrink_to`].
    pub fn try_shrink_to(&mut self, capacity: usize) -> Result<()> {
        self.map.try_shrink_to(capacity)
    }

    /// Adds `value`, unless an equal one is there. Whether it was added.
    #[inline]
    pub fn insert(&mut self, value: T) -> bool {
        self.map.insert(value, ()).is_none()
    }

    /// Adds `value`, unless an equal one is there. Whether it was added.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]; `value` is dropped then.
    #[inline]
    pub fn try_insert(&mut self, value: T) -> Result<bool> {
        Ok(self.map.try_insert(value, ())?.is_none())
    }

    /// Adds `value`, and returns the equal one that was there.
    pub fn replace(&mut self, value: T) -> Option<T> {
        expect(self.try_replace(value))
    }

    /// Adds `value`, and returns the equal one that was there.
    ///
    /// # Errors
    /// As for [`PHashMap::try_reserve`]; `value` is dropped then.
    pub fn try_replace(&mut self, value: T) -> Result<Option<T>> {
        let old = self.take(&value);
        // What was taken has left room.
        self.try_insert(value)?;
        Ok(old)
    }

    /// Whether an equal value is there.
    #[inline]
    pub fn contains<Q: ?Sized + Hash + Equivalent<T>>(&self, value: &Q) -> bool {
        self.map.contains_key(value)
    }

    /// The equal value.
    #[inline]
    pub fn get<Q: ?Sized + Hash + Equivalent<T>>(&self, value: &Q) -> Option<&T> {
        self.map.get_key_value(value).map(|(value, ())| value)
    }

    /// Drops the equal value. Whether there was one.
    #[inline]
    pub fn remove<Q: ?Sized + Hash + Equivalent<T>>(&mut self, value: &Q) -> bool {
        self.take(value).is_some()
    }

    /// Takes out the equal value.
    #[inline]
    pub fn take<Q: ?Sized + Hash + Equivalent<T>>(&mut self, value: &Q) -> Option<T> {
        self.map.remove_entry(value).map(|(value, ())| value)
    }

    /// Whether no value is in both sets.
    pub fn is_disjoint<Z: BuildHasher>(&self, other: &PHashSet<'_, T, Z>) -> bool {
        self.intersection(other).next().is_none()
    }

    /// Whether all values are in `other`.
    pub fn is_subset<Z: BuildHasher>(&self, other: &PHashSet<'_, T, Z>) -> bool {
        self.len() <= other.len() && self.iter().all(|value| other.contains(value))
    }

    /// Whether all values of `other` are here.
    pub fn is_superset<Z: BuildHasher>(&self, other: &PHashSet<'_, T, Z>) -> bool {
        other.is_subset(self)
    }
}

// SAFETY: a map.
unsafe impl<T, S> Persist for PHashSet<'_, T, S>
where
    T: Persist + Hash,
    S: Persist + BuildHasher,
    for<'x> T::In<'x>: Hash,
    for<'x> S::In<'x>: BuildHasher,
{
    type In<'s> = PHashSet<'s, T::In<'s>, S::In<'s>>;
    const INTERIOR: bool = S::INTERIOR;
    fn describe(schema: &mut Schema) -> String {
        format!("PHashSet:{}", PHashMap::<T, (), S>::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the contract of this function, for the only field.
        unsafe { PHashMap::walk(&raw mut (*this).map, walker) }
    }
}

impl<T: Clone + Eq + Hash, S: Clone + BuildHasher> Clone for PHashSet<'_, T, S> {
    /// Copies the values, in the same heap, with the same hasher.
    ///
    /// # Panics
    /// As [`PHashMap::clone`].
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }
}

impl<'t, T: Eq + Hash, S: BuildHasher, Z: BuildHasher> PartialEq<PHashSet<'t, T, Z>> for PHashSet<'_, T, S> {
    fn eq(&self, other: &PHashSet<'t, T, Z>) -> bool {
        self.len() == other.len() && self.is_subset(other)
    }
}

impl<T: Eq + Hash, S: BuildHasher> Eq for PHashSet<'_, T, S> {}

impl<T: fmt::Debug, S> fmt::Debug for PHashSet<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<T: Eq + Hash, S: BuildHasher> Extend<T> for PHashSet<'_, T, S> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.map.extend(values.into_iter().map(|value| (value, ())));
    }
}

impl<'a, T: Eq + Hash + Copy + 'a, S: BuildHasher> Extend<&'a T> for PHashSet<'_, T, S> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        self.extend(values.into_iter().copied());
    }
}

impl<'s, T: Eq + Hash> FromIteratorIn<'s, T> for PHashSet<'s, T, PBuildHasher> {
    fn from_iter_in<I: IntoIterator<Item = T>>(values: I, section: &'s Section<'_>) -> Self {
        let mut set = Self::new_in(section);
        set.extend(values);
        set
    }
}
