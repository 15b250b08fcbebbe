//! Putting values into a tree and taking them out, at places that were found before: here nothing is compared.
//!
//! - B1. All memory is there before the first value is moved: what fails, or panics, leaves the tree as it was.
//! - B2. Every leaf is at level 0. A node but the root has at least [`Shape::MIN`] values, but for the last of each level, which has one at least: a full node behind which a value is
//!   put keeps all of its own but one, so what is put in in order fills its nodes.

use super::PBTreeMap;
use super::change::{Fresh, Owned, Unique};
use super::node::{At, HEIGHT_MAX, Shape, Shared};
use super::path::{Path, Spot};
use crate::base::Result;
use crate::typed::{Persist, allocate_beside, allocate_in};

impl<K, V> PBTreeMap<'_, K, V> {
    /// The root, if there is one.
    #[inline]
    pub(super) fn root(&self) -> Option<Shared<'_, K, V>> {
        // SAFETY: this map owns the tree, and is borrowed.
        self.root_at().map(|at| unsafe { Shared::new(at) })
    }

    #[inline]
    pub(super) fn root_at(&self) -> Option<At> {
        (self.height > 0).then(|| At { addr: self.root, level: self.height as u32 - 1 })
    }
}

impl<K: Persist, V: Persist> PBTreeMap<'_, K, V> {
    /// The root, which must be there.
    fn root_mut(&mut self) -> Unique<'_, K, V> {
        let at = self.root_at().expect("a map with values has a root");
        // SAFETY: this map owns the tree, and is borrowed alone.
        unsafe { Unique::new(at) }
    }

    /// Puts a value at the end of `path`, which leads to a leaf, and says where it is then.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the map is as it was, and the value is dropped.
    pub(super) fn put(&mut self, path: &Path, key: K, value: V) -> Result<Spot> {
        let room = self.room(path)?;
        Ok(self.fill(path, room, key, value))
    }

    /// Makes room for a value at the end of `path`.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`: the map is as it was.
    pub(super) fn room(&mut self, path: &Path) -> Result<Room<K, V>> {
        let mut room = Room { memory: Vec::new(), behind_all: true };
        let Some(mut node) = self.root() else {
            let leaf = self.fresh(0)?.init(None);
            (self.root, self.height) = (leaf.into_at().addr, 1);
            return Ok(room);
        };
        let mut full = 0;
        for index in path.indices().iter().map(|index| usize::from(*index)) {
            full = if node.len() == Shape::<K, V>::CAPACITY { full + 1 } else { 0 };
            room.behind_all &= index == node.len();
            if node.level() > 0 {
                node = node.child(index);
            }
        }
        if full > 0 {
            let levels = if full == path.indices().len() { full + 1 } else { full };
            assert!(levels <= HEIGHT_MAX, "a tree of {levels} levels");
            room.memory = (0..levels as u32).rev().map(|level| self.fresh(level)).collect::<Result<_>>()?;
        }
        Ok(room)
    }

    /// Puts a value at the end of `path`, where there is room, and says where it is then.
    pub(super) fn fill(&mut self, path: &Path, mut room: Room<K, V>, key: K, value: V) -> Spot {
        // There was no way through a map without a tree.
        let path = if path.indices().is_empty() { &[0] } else { path.indices() };
        let grown = grow(self.root_mut(), path, key, value, &mut room);
        if let Some((key, value, right)) = grown.carried {
            // SAFETY: the old root, which the new one owns from now on.
            let left = unsafe { Owned::new(self.root_at().expect("it was split")) };
            let mut root = room.memory.pop().expect("the root's is left").init(Some(left));
            root.borrow_mut().insert(0, key, value, Some(right));
            (self.root, self.height) = (root.into_at().addr, self.height + 1);
        }
        self.len += 1;
        grown.spot
    }

    fn fresh(&self, level: u32) -> Result<Fresh<K, V>> {
        #[cfg(all(test, not(any(loom, shuttle))))]
        super::tests::may_allocate()?;
        let layout = Shape::<K, V>::layout(level);
        let addr = match self.height {
            0 => allocate_in(self.root, layout)?,
            _ => allocate_beside(self.root, layout)?,
        };
        // SAFETY: just allocated for that layout.
        Ok(unsafe { Fresh::new(At { addr, level }) })
    }

    /// Takes the value at the end of `path` out.
    pub(super) fn take(&mut self, path: &Path) -> (K, V) {
        let pair = shrink(self.root_mut(), path.indices());
        self.len -= 1;
        if let Some(root) = self.root()
            && root.level() > 0
            && root.len() == 0
        {
            let (old, new) = (self.root, root.child(0).at().addr);
            (self.root, self.height) = (new, self.height - 1);
            crate::section::free(old);
        }
        pair
    }

    /// The value at `spot`, to change it.
    pub(super) fn pair_mut(&mut self, spot: Spot) -> (&K, &mut V) {
        // SAFETY: a node of this map, which is borrowed alone.
        unsafe { Unique::new(spot.at) }.into_pair(spot.index)
    }

    /// Puts another key, of the same place in the order, in place of that at `spot`.
    pub(super) fn replace_key(&mut self, spot: Spot, key: K) -> K {
        // SAFETY: a node of this map, which is borrowed alone.
        unsafe { Unique::<K, V>::new(spot.at) }.replace_key(spot.index, key)
    }

    /// Puts a value behind all others.
    pub(super) fn put_last(&mut self, key: K, value: V) -> Result<Spot> {
        let mut path = Path::EMPTY;
        let mut node = self.root();
        while let Some(some) = node {
            path.push(some.len());
            node = (some.level() > 0).then(|| some.child(some.len()));
        }
        self.put(&path, key, value)
    }
}

/// What it takes to put a value at some place.
pub(super) struct Room<K, V> {
    /// For a node for each full one at the end of the way, and for a root if all are. That of the leaf is the last.
    memory: Vec<Fresh<K, V>>,
    /// Whether the way leads behind all values.
    behind_all: bool,
}

/// What came of putting a value into a node.
struct Grown<K, V> {
    /// Where the value is.
    spot: Spot,
    /// What is to be put into the node above: the value in the middle, and the new node behind it.
    carried: Option<(K, V, Owned<K, V>)>,
}

/// Puts a value at the end of `path` into the tree below `node`.
fn grow<K: Persist, V: Persist>(
    mut node: Unique<'_, K, V>,
    path: &[u8],
    key: K,
    value: V,
    room: &mut Room<K, V>,
) -> Grown<K, V> {
    let index = usize::from(path[0]);
    if path.len() == 1 {
        return put_in(node, index, (key, value, None), room);
    }
    let below = grow(node.child(index), &path[1..], key, value, room);
    match below.carried {
        Some((key, value, right)) => {
            let here = put_in(node, index, (key, value, Some(right)), room);
            Grown { spot: below.spot, ..here }
        }
        None => below,
    }
}

/// Puts a value, and the edge behind it, into `node`, which is split if it is full.
fn put_in<K: Persist, V: Persist>(
    mut node: Unique<'_, K, V>,
    index: usize,
    (key, value, right): (K, V, Option<Owned<K, V>>),
    room: &mut Room<K, V>,
) -> Grown<K, V> {
    if node.len() < Shape::<K, V>::CAPACITY {
        node.insert(index, key, value, right);
        return Grown { spot: Spot { at: node.at(), index }, carried: None };
    }
    let middle = if room.behind_all { Shape::<K, V>::CAPACITY - 1 } else { Shape::<K, V>::CAPACITY / 2 };
    let (up, up_value, mut new) = node.split(middle, room.memory.pop().expect("one for each full node"));
    let spot = if index <= middle {
        node.insert(index, key, value, right);
        Spot { at: node.at(), index }
    } else {
        let mut new = new.borrow_mut();
        new.insert(index - middle - 1, key, value, right);
        Spot { at: new.at(), index: index - middle - 1 }
    };
    Grown { spot, carried: Some((up, up_value, new)) }
}

/// Takes the value at the end of `path` out of the tree below `node`.
fn shrink<K: Persist, V: Persist>(mut node: Unique<'_, K, V>, path: &[u8]) -> (K, V) {
    let index = usize::from(path[0]);
    if path.len() > 1 {
        let pair = shrink(node.child(index), &path[1..]);
        node.restore(index);
        return pair;
    }
    if node.at().level == 0 {
        return node.remove(index);
    }
    // The one before it takes its place.
    let (key, value) = take_last(node.child(index));
    let pair = node.replace(index, key, value);
    node.restore(index);
    pair
}

fn take_last<K: Persist, V: Persist>(mut node: Unique<'_, K, V>) -> (K, V) {
    let last = node.len();
    if node.at().level == 0 {
        return node.remove(last - 1);
    }
    let pair = take_last(node.child(last));
    node.restore(last);
    pair
}
