//! [`PBTreeMap`]: the calls that std's map has.

use super::entry::{Entry, OccupiedEntry, VacantEntry};
use super::iter::{IntoKeys, IntoValues, Iter, IterMut, Keys, Range, RangeMut, Values, ValuesMut};
use super::node::Shared;
use super::path::{Edge, Goal, Path, Spot, Steps};
use crate::base::Result;
use crate::engine::owner_of;
use crate::section::Section;
use crate::typed::OwnsIn;
use crate::typed::{Persist, expect};
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Bound, RangeBounds};

/// An ordered map in a heap. The persistent `BTreeMap`. A new one owns no memory.
///
/// ```
/// # use std::ops::Bound;
/// # use strewn::{Heap, PBTreeMap, PString};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("map.heap"))?;
/// let section = heap.enter();
/// let mut stock = PBTreeMap::new_in(&section);
/// for (what, count) in [("pears", 3), ("apples", 5), ("plums", 0)] {
///     stock.insert(PString::from_str_in(what, &section), count);
/// }
/// *stock.get_mut("plums").unwrap() += 12;
/// let names: Vec<_> = stock.keys().map(|name| name.as_str()).collect();
/// assert_eq!(names, ["apples", "pears", "plums"]);
/// assert_eq!(stock.range::<str, _>((Bound::Excluded("apples"), Bound::Unbounded)).next().unwrap().1, &3);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// A B-tree, whose nodes are objects of the heap of about 512 bytes: a leaf has room for as many values as fit in that, but at least 6 and at most 31. So a checkpoint after one write
/// copies one node, whatever the size of the map; after an insertion or a removal also the object that the map is in, and in one of several a few nodes more. Keys that are put in in
/// ascending order fill their nodes. Looking up takes a binary search in each of a few nodes: four for a million numbers.
///
/// The order of keys is that of their `Ord`. A program that reads a map that another program wrote must order keys as that one did; nothing checks it. If it does not, or if `Ord`
/// contradicts itself, keys are not found or are there twice, and calls may panic; nothing worse. Should `Ord` panic, the map is as it was before the call, or, of calls that put in or take
/// out several values, after some of them.
///
/// # Panics
/// What allocates (putting in what was not there) panics if the heap is full, or if this thread is inside no section of the heap (only another thread's values can be); there is a
/// `try_` twin for each.
#[repr(C)]
pub struct PBTreeMap<'s, K, V> {
    /// The address of the root; the tag of the heap (Y2) while the height is 0.
    pub(super) root: u64,
    pub(super) len: u64,
    /// How many levels there are.
    pub(super) height: u64,
    pub(super) _owns: OwnsIn<'s, (K, V)>,
}

impl<'s, K: Persist, V: Persist> PBTreeMap<'s, K, V> {
    /// An empty map in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self::of_heap(section.engine().tag())
    }

    /// Keeps the values for which `keep` is true. Keys are compared where one was removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool)
    where
        K: Ord,
    {
        let Some(root) = self.root() else { return };
        // SAFETY: when the tree changes its shape, below, these steps are given up.
        let mut steps = unsafe { Steps::<K, V>::all(root) };
        while let (Some(path), Some(spot)) = (steps.path(), steps.next()) {
            let (key, value) = self.pair_mut(spot);
            if keep(key, value) {
                continue;
            }
            let (key, value) = self.take(&path);
            let Some(root) = self.root() else { return };
            let edge = Edge::find(root, Goal::Behind(&key));
            // SAFETY: as above.
            steps = unsafe { Steps::from(root, edge) };
            drop((key, value));
        }
    }

    /// The values, by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self)
    }

    /// The values, by key, to change them.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(self)
    }

    /// The keys, in order.
    pub fn keys(&self) -> Keys<'_, K, V> {
        Keys(self.iter())
    }

    /// The values, by key.
    pub fn values(&self) -> Values<'_, K, V> {
        Values(self.iter())
    }

    /// The values, by key, to change them.
    pub fn values_mut(&mut self) -> ValuesMut<'_, K, V> {
        ValuesMut(self.iter_mut())
    }

    /// The keys, moved out in order.
    pub fn into_keys(self) -> IntoKeys<'s, K, V> {
        IntoKeys(self.into_iter())
    }

    /// The values, moved out by key.
    pub fn into_values(self) -> IntoValues<'s, K, V> {
        IntoValues(self.into_iter())
    }

    /// The first key and its value.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next()
    }

    /// The last key and its value.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.iter().next_back()
    }

    /// Takes out the first key and its value.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        self.take_outermost(false)
    }

    /// Takes out the last key and its value.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.take_outermost(true)
    }

    fn take_outermost(&mut self, last: bool) -> Option<(K, V)> {
        let (_, path) = self.outermost(last)?;
        Some(self.take(&path))
    }

    /// Where the first value is, or the last one, and the way there.
    fn outermost(&self, last: bool) -> Option<(Spot, Path)> {
        let mut node = self.root().filter(|_| !self.is_empty())?;
        let mut path = Path::EMPTY;
        while node.level() > 0 {
            let index = if last { node.len() } else { 0 };
            path.push(index);
            node = node.child(index);
        }
        let index = if last { node.len() - 1 } else { 0 };
        path.push(index);
        Some((Spot { at: node.at(), index }, path))
    }
}

impl<'s, K, V> PBTreeMap<'s, K, V> {
    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        if self.height > 0 {
            let empty = Self::of_heap(self.tag());
            drop(mem::replace(self, empty));
        }
    }

    /// An empty map in the heap of this tag.
    pub(super) fn of_heap(tag: u64) -> Self {
        Self { root: tag, len: 0, height: 0, _owns: PhantomData }
    }

    /// The tag of the heap that this map is in.
    pub(super) fn tag(&self) -> u64 {
        match self.height {
            0 => self.root,
            _ => owner_of(self.root).expect("a value lives no longer than a section of its heap").tag(),
        }
    }
}

impl<'s, K: Persist + Ord, V: Persist> PBTreeMap<'s, K, V> {
    /// Puts `value` at `key`, and returns what was there; the key that was there stays.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        expect(self.try_insert(key, value))
    }

    /// As [`insert`](PBTreeMap::insert): unlike std's unstable method of that name, it replaces a value that is there.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the map is as it was, and key and value are dropped.
    pub fn try_insert(&mut self, key: K, value: V) -> Result<Option<V>> {
        match self.find(&key) {
            Ok((spot, _)) => Ok(Some(mem::replace(self.pair_mut(spot).1, value))),
            Err(path) => self.put(&path, key, value).map(|_| None),
        }
    }

    /// The place of `key`, to look at, fill or empty.
    pub fn entry(&mut self, key: K) -> Entry<'_, 's, K, V> {
        match self.find(&key) {
            Ok((spot, path)) => Entry::Occupied(OccupiedEntry { map: self, spot, path }),
            Err(path) => Entry::Vacant(VacantEntry { map: self, path, key }),
        }
    }

    /// The first key's entry.
    pub fn first_entry(&mut self) -> Option<OccupiedEntry<'_, 's, K, V>> {
        self.outermost_entry(false)
    }

    /// The last key's entry.
    pub fn last_entry(&mut self) -> Option<OccupiedEntry<'_, 's, K, V>> {
        self.outermost_entry(true)
    }

    fn outermost_entry(&mut self, last: bool) -> Option<OccupiedEntry<'_, 's, K, V>> {
        let (spot, path) = self.outermost(last)?;
        Some(OccupiedEntry { map: self, spot, path })
    }

    /// Moves all of `other` into this map. Where both have a key, this map keeps its key and gets the other's value.
    ///
    /// If it panics, each value is in one of the two maps, or, if it is its `drop` that panicked, in none.
    pub fn append(&mut self, other: &mut Self) {
        expect(self.try_append(other));
    }

    /// As [`append`](PBTreeMap::append).
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: what was not moved is still in `other`.
    pub fn try_append(&mut self, other: &mut Self) -> Result<()> {
        if self.is_empty() && self.tag() == other.tag() {
            mem::swap(self, other);
            return Ok(());
        }
        while let Some((key, _)) = other.first_key_value() {
            match self.find(key) {
                Ok((spot, _)) => {
                    let (_, value) = other.pop_first().expect("its first key was just seen");
                    *self.pair_mut(spot).1 = value;
                }
                Err(path) => {
                    let room = self.room(&path)?;
                    let (key, value) = other.pop_first().expect("its first key was just seen");
                    self.fill(&path, room, key, value);
                }
            }
        }
        Ok(())
    }

    /// Where `key` is, and the way there; or the way to where it would be.
    pub(super) fn find<Q: Ord + ?Sized>(&self, key: &Q) -> std::result::Result<(Spot, Path), Path>
    where
        K: Borrow<Q>,
    {
        let mut path = Path::EMPTY;
        let Some(mut node) = self.root() else { return Err(path) };
        loop {
            let found = node.search(key);
            let (Ok(index) | Err(index)) = found;
            path.push(index);
            match found {
                Ok(index) => return Ok((Spot { at: node.at(), index }, path)),
                Err(_) if node.level() == 0 => return Err(path),
                Err(index) => node = node.child(index),
            }
        }
    }
}

impl<K: Persist, V: Persist> PBTreeMap<'_, K, V> {
    fn look_up<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(Shared<'_, K, V>, usize)>
    where
        K: Borrow<Q>,
    {
        let mut node = self.root()?;
        loop {
            match node.search(key) {
                Ok(index) => return Some((node, index)),
                Err(_) if node.level() == 0 => return None,
                Err(index) => node = node.child(index),
            }
        }
    }

    /// The value at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.look_up(key).map(|(node, index)| node.value(index))
    }

    /// The value at `key`, to change it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (node, index) = self.look_up(key)?;
        let spot = Spot { at: node.at(), index };
        Some(self.pair_mut(spot).1)
    }

    /// The key and the value at `key`.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.look_up(key).map(|(node, index)| node.pair(index))
    }

    /// Whether there is a value at `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.look_up(key).is_some()
    }

    /// Takes out the value at `key`.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q> + Ord,
    {
        self.remove_entry(key).map(|(_, value)| value)
    }

    /// Takes out the key and the value at `key`.
    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q> + Ord,
    {
        let (_, path) = self.find(key).ok()?;
        Some(self.take(&path))
    }

    /// The values at the keys in `range`.
    ///
    /// # Panics
    /// If the range starts behind its end, or if it starts and ends at one key and neither includes it.
    pub fn range<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: R) -> Range<'_, K, V>
    where
        K: Borrow<Q>,
    {
        Range { steps: self.steps(&range), _borrows: PhantomData }
    }

    /// The values at the keys in `range`, to change them.
    ///
    /// # Panics
    /// As for [`range`](PBTreeMap::range).
    pub fn range_mut<Q: Ord + ?Sized, R: RangeBounds<Q>>(&mut self, range: R) -> RangeMut<'_, K, V>
    where
        K: Borrow<Q>,
    {
        RangeMut { steps: self.steps(&range), _borrows: PhantomData }
    }

    /// To be used while the map is borrowed as it is now.
    fn steps<Q: Ord + ?Sized, R: RangeBounds<Q>>(&self, range: &R) -> Steps<K, V>
    where
        K: Borrow<Q>,
    {
        let (start, end) = (range.start_bound(), range.end_bound());
        if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) = (start, end) {
            let neither = matches!((start, end), (Bound::Excluded(_), Bound::Excluded(_)));
            assert!(a <= b, "a range of a PBTreeMap starts behind its end");
            assert!(!neither || a != b, "a range of a PBTreeMap starts and ends at one key, without it");
        }
        let Some(root) = self.root() else { return Steps::NONE };
        let front = match start {
            Bound::Included(key) => Goal::Before(key),
            Bound::Excluded(key) => Goal::Behind(key),
            Bound::Unbounded => Goal::First,
        };
        let back = match end {
            Bound::Included(key) => Goal::Behind(key),
            Bound::Excluded(key) => Goal::Before(key),
            Bound::Unbounded => Goal::Last,
        };
        // SAFETY: both are edges of this tree, and the callers hold the map's borrow for as long as the steps.
        unsafe { Steps::between(root, Edge::find(root, front), Edge::find(root, back)) }
    }
}
