//! [`PBTreeSet`]: the keys of a map.

use super::iter::{IntoKeys, Keys};
use super::{PBTreeMap, Range};
use crate::base::Result;
use crate::section::Section;
use crate::typed::{FromIteratorIn, Persist, expect};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::FusedIterator;
use std::ops::RangeBounds;

/// An ordered set in a heap. The persistent `BTreeSet`. A new one owns no memory.
///
/// ```
/// # use strewn::{CollectIn, Heap, PBTreeSet};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("set.heap"))?;
/// let section = heap.enter();
/// let odd: PBTreeSet<u32> = (0..10).filter(|n| n % 2 == 1).collect_in(&section);
/// let mut few = PBTreeSet::new_in(&section);
/// few.extend([5, 1, 2]);
/// assert!(odd.intersection(&few).eq(&[1, 5]));
/// assert_eq!(few.pop_first(), Some(1));
/// assert!(odd.range(3..=6).eq(&[3, 5]));
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// What is said of [`PBTreeMap`] holds for its keys: nodes, order, panics.
#[repr(transparent)]
pub struct PBTreeSet<'s, T> {
    pub(super) map: PBTreeMap<'s, T, ()>,
}

/// The values of a set.
pub type Iter<'a, T> = Keys<'a, T, ()>;

/// The values of a set, moved out one by one.
pub type IntoIter<'s, T> = IntoKeys<'s, T, ()>;

/// The values of a set in a range.
pub struct SetRange<'a, T>(Range<'a, T, ()>);

impl<'a, T: Persist> Iterator for SetRange<'a, T> {
    type Item = &'a T;
    fn next(&mut self) -> Option<&'a T> {
        self.0.next().map(|(value, ())| value)
    }
}

impl<'a, T: Persist> DoubleEndedIterator for SetRange<'a, T> {
    fn next_back(&mut self) -> Option<&'a T> {
        self.0.next_back().map(|(value, ())| value)
    }
}

impl<T: Persist> FusedIterator for SetRange<'_, T> {}

impl<T> Clone for SetRange<'_, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PBTreeSet<'_, T> {
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

    /// Drops all values.
    pub fn clear(&mut self) {
        self.map.clear();
    }
}

impl<'s, T: Persist> PBTreeSet<'s, T> {
    /// An empty set in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { map: PBTreeMap::new_in(section) }
    }

    /// The values, in order.
    pub fn iter(&self) -> Iter<'_, T> {
        self.map.keys()
    }

    /// The first value.
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// The last value.
    pub fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    /// Takes out the first value.
    pub fn pop_first(&mut self) -> Option<T> {
        self.map.pop_first().map(|(value, ())| value)
    }

    /// Takes out the last value.
    pub fn pop_last(&mut self) -> Option<T> {
        self.map.pop_last().map(|(value, ())| value)
    }

    /// Whether `value` is there.
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.map.contains_key(value)
    }

    /// The value that is equal to `value`.
    pub fn get<Q: Ord + ?Sized>(&self, value: &Q) -> Option<&T>
    where
        T: Borrow<Q>,
    {
        self.map.get_key_value(value).map(|(value, ())| value)
    }

    /// Takes out the value that is equal to `value`, and says whether there was one.
    pub fn remove<Q: Ord + ?Sized>(&mut self, value: &Q) -> bool
    where
        T: Borrow<Q> + Ord,
    {
        self.take(value).is_some()
    }

    /// Takes out the value that is equal to `value`.
    pub fn take<Q: Ord + ?Sized>(&mut self, value: &Q) -> Option<T>
    where
        T: Borrow<Q> + Ord,
    {
        self.map.remove_entry(value).map(|(value, ())| value)
    }

    /// The values in `range`.
    ///
    /// # Panics
    /// As for [`PBTreeMap::range`].
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> SetRange<'_, T>
    where
        T: Borrow<Q>,
    {
        SetRange(self.map.range(range))
    }
}

impl<T: Persist + Ord> PBTreeSet<'_, T> {
    /// Puts `value` in, unless one that is equal is there, which stays. Says whether there was none.
    pub fn insert(&mut self, value: T) -> bool {
        expect(self.try_insert(value))
    }

    /// As [`insert`](PBTreeSet::insert).
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the set is as it was, and `value` is dropped.
    pub fn try_insert(&mut self, value: T) -> Result<bool> {
        self.map.try_insert(value, ()).map(|before| before.is_none())
    }

    /// Puts `value` in, and takes out one that is equal.
    pub fn replace(&mut self, value: T) -> Option<T> {
        expect(self.try_replace(value))
    }

    /// As [`replace`](PBTreeSet::replace).
    ///
    /// # Errors
    /// As for [`PBTreeSet::try_insert`].
    pub fn try_replace(&mut self, value: T) -> Result<Option<T>> {
        match self.map.find(&value) {
            Ok((spot, _)) => Ok(Some(self.map.replace_key(spot, value))),
            Err(path) => self.map.put(&path, value, ()).map(|_| None),
        }
    }

    /// Keeps the values for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.map.retain(|value, ()| keep(value));
    }

    /// Moves all of `other` into this set; of two that are equal, this set keeps its own.
    pub fn append(&mut self, other: &mut Self) {
        self.map.append(&mut other.map);
    }

    /// As [`append`](PBTreeSet::append).
    ///
    /// # Errors
    /// As for [`PBTreeMap::try_append`].
    pub fn try_append(&mut self, other: &mut Self) -> Result<()> {
        self.map.try_append(&mut other.map)
    }
}

impl<T: Persist + Clone> Clone for PBTreeSet<'_, T> {
    /// Copies the values, in the same heap.
    fn clone(&self) -> Self {
        Self { map: self.map.clone() }
    }
}

impl<T: Persist + Ord> Extend<T> for PBTreeSet<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.insert(value);
        }
    }
}

impl<'a, T: Persist + Ord + Copy + 'a> Extend<&'a T> for PBTreeSet<'_, T> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        self.extend(values.into_iter().copied());
    }
}

impl<'s, T: Persist + Ord> FromIteratorIn<'s, T> for PBTreeSet<'s, T> {
    fn from_iter_in<I: IntoIterator<Item = T>>(values: I, section: &'s Section<'_>) -> Self {
        Self { map: PBTreeMap::from_iter_in(values.into_iter().map(|value| (value, ())), section) }
    }
}

impl<'s, T> IntoIterator for PBTreeSet<'s, T> {
    type Item = T;
    type IntoIter = IntoIter<'s, T>;
    fn into_iter(self) -> IntoIter<'s, T> {
        IntoKeys(self.map.into_iter())
    }
}

impl<'a, T: Persist> IntoIterator for &'a PBTreeSet<'_, T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Persist + PartialEq> PartialEq for PBTreeSet<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<T: Persist + Eq> Eq for PBTreeSet<'_, T> {}

impl<T: Persist + PartialOrd> PartialOrd for PBTreeSet<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.iter().partial_cmp(other.iter())
    }
}

impl<T: Persist + Ord> Ord for PBTreeSet<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl<T: Persist + Hash> Hash for PBTreeSet<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.map.hash(state);
    }
}

impl<T: Persist + fmt::Debug> fmt::Debug for PBTreeSet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}
