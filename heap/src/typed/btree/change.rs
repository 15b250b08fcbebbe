//! Changing the nodes of a B-tree, and who owns them while they are in no tree.
//!
//! What moves values here compares none and calls nothing of theirs, so it cannot panic half-way.

use super::node::{At, Node, Shape, Shared};
use crate::section::free;
use crate::typed::Persist;
use crate::typed::access::{own_ptr, write_ptr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;

/// A node that is borrowed alone.
pub struct Unique<'a, K, V> {
    at: At,
    _borrows: PhantomData<&'a mut (K, V)>,
}

/// Memory for a node, freed when it is dropped.
pub struct Fresh<K, V> {
    at: At,
    _is: PhantomData<(K, V)>,
}

/// A node in no tree, and what it owns. It leaks when it is dropped.
pub struct Owned<K, V> {
    at: At,
    _owns: PhantomData<(K, V)>,
}

impl<K, V> Drop for Fresh<K, V> {
    fn drop(&mut self) {
        free(self.at.addr);
    }
}

impl<K, V> Fresh<K, V> {
    /// # Safety
    /// `at.addr` was allocated for the layout of a node of `at.level`, and nobody else knows it.
    pub unsafe fn new(at: At) -> Self {
        Self { at, _is: PhantomData }
    }

    /// A node without values. Above level 0 its first edge is `first`.
    ///
    /// # Panics
    /// If `first` is no node of the level below.
    pub fn init(self, first: Option<Owned<K, V>>) -> Owned<K, V> {
        let at = ManuallyDrop::new(self).at;
        assert_eq!(first.as_ref().map(|first| first.at.level + 1).unwrap_or(0), at.level, "the level of an edge");
        let start = own_ptr::<u8>(at.addr);
        // SAFETY: memory for a node of that level, which nobody else knows.
        unsafe {
            (&raw mut (*start.cast::<Node<K, V>>()).len).write(0);
            (&raw mut (*start.cast::<Node<K, V>>()).level).write(at.level);
            if let Some(first) = first {
                start.add(Shape::<K, V>::EDGES).cast::<u64>().write(first.at.addr);
            }
        }
        Owned { at, _owns: PhantomData }
    }
}

impl<K, V> Owned<K, V> {
    /// # Safety
    /// A whole node, which nobody else owns.
    pub unsafe fn new(at: At) -> Self {
        Self { at, _owns: PhantomData }
    }

    /// Whoever calls this owns it now.
    pub fn into_at(self) -> At {
        self.at
    }

    pub fn borrow_mut(&mut self) -> Unique<'_, K, V> {
        Unique { at: self.at, _borrows: PhantomData }
    }
}

/// The arrays of a node, to change them.
struct Arrays<K, V> {
    keys: *mut K,
    values: *mut V,
    edges: *mut u64,
    inner: bool,
}

impl<K, V> Arrays<K, V> {
    /// Copies `count` keys and values.
    ///
    /// # Safety
    /// They are within both nodes; what is copied counts at one of the places only.
    unsafe fn copy_values(&self, from: usize, to: &Self, at: usize, count: usize) {
        // SAFETY: by the contract.
        unsafe {
            ptr::copy(self.keys.add(from), to.keys.add(at), count);
            ptr::copy(self.values.add(from), to.values.add(at), count);
        }
    }

    /// Copies `count` edges, if the nodes have any.
    ///
    /// # Safety
    /// As for `copy_values`, and both nodes are of one level.
    unsafe fn copy_edges(&self, from: usize, to: &Self, at: usize, count: usize) {
        if self.inner {
            // SAFETY: by the contract.
            unsafe { ptr::copy(self.edges.add(from), to.edges.add(at), count) };
        }
    }
}

impl<'a, K: Persist, V: Persist> Unique<'a, K, V> {
    /// The node at `at`.
    ///
    /// # Safety
    /// N2 of `node.rs`, alone: nobody else has a handle of the tree, or a reference to something in the node that is used again, while this handle or what came of it is.
    #[inline]
    pub unsafe fn new(at: At) -> Self {
        Self { at, _borrows: PhantomData }
    }

    #[inline]
    pub fn at(&self) -> At {
        self.at
    }

    #[inline]
    pub fn shared(&self) -> Shared<'_, K, V> {
        // SAFETY: this handle is borrowed meanwhile.
        unsafe { Shared::new(self.at) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.shared().len()
    }

    #[inline]
    pub fn child(&mut self, index: usize) -> Unique<'_, K, V> {
        Unique { at: self.shared().child(index).at(), _borrows: PhantomData }
    }

    /// The key and the value at `index`.
    #[inline]
    pub fn into_pair(self, index: usize) -> (&'a K, &'a mut V) {
        assert!(index < self.len(), "value {index} of {}", self.len());
        let layout = Shape::<K, V>::layout(self.at.level);
        let addr = self.at.addr + (Shape::<K, V>::VALUES + index * size_of::<V>()) as u64;
        // SAFETY: both are initialised (N1) and distinct, and the tree is borrowed alone for 'a (N2).
        unsafe {
            let key = &Shared::<'a, K, V>::new(self.at).keys()[index];
            (key, &mut *write_ptr::<Node<K, V>>(addr, size_of::<V>(), layout).cast::<V>())
        }
    }

    /// Marks the whole node as written, and gives access to it.
    fn arrays(&mut self) -> Arrays<K, V> {
        let layout = Shape::<K, V>::layout(self.at.level);
        // SAFETY: the node is borrowed alone, so this thread is inside a section of its heap; the offsets are within the node, or, where there are no edges, at most at its end.
        unsafe {
            let start = write_ptr::<Node<K, V>>(self.at.addr, layout.size(), layout).cast::<u8>();
            let keys = start.add(Shape::<K, V>::KEYS).cast();
            let values = start.add(Shape::<K, V>::VALUES).cast();
            let edges = start.wrapping_add(Shape::<K, V>::EDGES).cast();
            Arrays { keys, values, edges, inner: self.at.level > 0 }
        }
    }

    fn set_len(&mut self, len: usize) {
        let layout = Shape::<K, V>::layout(self.at.level);
        debug_assert!(len <= Shape::<K, V>::CAPACITY);
        // SAFETY: the node is borrowed alone, so this thread is inside a section of its heap; it starts with its length.
        unsafe {
            let start = write_ptr::<Node<K, V>>(self.at.addr, size_of::<u32>(), layout);
            (&raw mut (*start).len).write(len as u32);
        }
    }

    /// Puts a value at `index`, and above level 0 the edge that follows it. There must be room.
    pub fn insert(&mut self, index: usize, key: K, value: V, right: Option<Owned<K, V>>) {
        let len = self.len();
        assert!(index <= len && len < Shape::<K, V>::CAPACITY, "place {index} of {len}");
        assert_eq!(right.as_ref().map(|right| right.at.level + 1).unwrap_or(0), self.at.level, "the level of an edge");
        let node = self.arrays();
        // SAFETY: `len + 1` values and `len + 2` edges fit; those from `index` on move one place, and what was doubled by that is overwritten.
        unsafe {
            node.copy_values(index, &node, index + 1, len - index);
            node.keys.add(index).write(key);
            node.values.add(index).write(value);
            node.copy_edges(index + 1, &node, index + 2, len - index);
            if let Some(right) = right {
                node.edges.add(index + 1).write(right.at.addr);
            }
        }
        self.set_len(len + 1);
    }

    /// Takes a value out of a leaf.
    pub fn remove(&mut self, index: usize) -> (K, V) {
        let len = self.len();
        assert!(index < len && self.at.level == 0, "value {index} of {len}, at level {}", self.at.level);
        let node = self.arrays();
        // SAFETY: the value at `index` is moved out, and those behind take its place.
        let pair = unsafe {
            let pair = (node.keys.add(index).read(), node.values.add(index).read());
            node.copy_values(index + 1, &node, index, len - index - 1);
            pair
        };
        self.set_len(len - 1);
        pair
    }

    /// Puts a value where another was.
    pub fn replace(&mut self, index: usize, key: K, value: V) -> (K, V) {
        assert!(index < self.len(), "value {index} of {}", self.len());
        let node = self.arrays();
        // SAFETY: initialised, and borrowed alone.
        unsafe { (node.keys.add(index).replace(key), node.values.add(index).replace(value)) }
    }

    /// Puts a key where another was.
    pub fn replace_key(&mut self, index: usize, key: K) -> K {
        assert!(index < self.len(), "key {index} of {}", self.len());
        // SAFETY: initialised, and borrowed alone.
        unsafe { self.arrays().keys.add(index).replace(key) }
    }

    /// Moves what is behind the value at `middle` to a new node, and takes that value out.
    pub fn split(&mut self, middle: usize, fresh: Fresh<K, V>) -> (K, V, Owned<K, V>) {
        let len = self.len();
        assert!(middle < len && fresh.at.level == self.at.level, "value {middle} of {len}");
        let at = ManuallyDrop::new(fresh).at;
        let start = own_ptr::<u8>(at.addr);
        let (node, moved) = (self.arrays(), len - middle - 1);
        // SAFETY: the new memory has room for a node of this level. Values behind `middle`, and the edges on both sides of them, are moved there; the one at `middle` is
        // moved out; none of them counts here any more.
        let (key, value) = unsafe {
            let new = Arrays {
                keys: start.add(Shape::<K, V>::KEYS).cast(),
                values: start.add(Shape::<K, V>::VALUES).cast(),
                edges: start.wrapping_add(Shape::<K, V>::EDGES).cast(),
                inner: node.inner,
            };
            (&raw mut (*start.cast::<Node<K, V>>()).len).write(moved as u32);
            (&raw mut (*start.cast::<Node<K, V>>()).level).write(at.level);
            node.copy_values(middle + 1, &new, 0, moved);
            node.copy_edges(middle + 1, &new, 0, moved + 1);
            (node.keys.add(middle).read(), node.values.add(middle).read())
        };
        self.set_len(middle);
        (key, value, Owned { at, _owns: PhantomData })
    }

    /// After a value was taken from below edge `index`: if that child has too few now, shares with the one beside it, or makes one of the two.
    pub fn restore(&mut self, index: usize) {
        if self.shared().child(index).len() >= Shape::<K, V>::MIN {
            return;
        }
        let left = index.saturating_sub(1);
        let (a, b) = (self.shared().child(left).len(), self.shared().child(left + 1).len());
        if a + 1 + b <= Shape::<K, V>::CAPACITY { self.merge(left) } else { self.balance(left) }
    }

    /// Moves all of the child behind the value at `index`, and that value, to the end of the child before it.
    fn merge(&mut self, index: usize) {
        let len = self.len();
        let (a, b) = (self.shared().child(index).len(), self.shared().child(index + 1).len());
        assert!(index < len && a + 1 + b <= Shape::<K, V>::CAPACITY, "{a} and {b} values in one node");
        let (left, right) = (self.child(index).arrays(), self.shared().child(index + 1).at());
        // SAFETY: an edge is the only owner of its node (N1), and this one is taken out below.
        let mut from = unsafe { Unique::<K, V>::new(right) };
        let (from, node) = (from.arrays(), self.arrays());
        // SAFETY: three distinct nodes. The left one has room for all; the value between them, and the edge behind it, are taken out of this one.
        unsafe {
            node.copy_values(index, &left, a, 1);
            from.copy_values(0, &left, a + 1, b);
            from.copy_edges(0, &left, a + 1, b + 1);
            node.copy_values(index + 1, &node, index, len - index - 1);
            node.copy_edges(index + 2, &node, index + 1, len - index - 1);
        }
        self.child(index).set_len(a + 1 + b);
        self.set_len(len - 1);
        free(right.addr);
    }

    /// Gives the children on both sides of the value at `index` as many values each, give or take one.
    fn balance(&mut self, index: usize) {
        let (a, b) = (self.shared().child(index).len(), self.shared().child(index + 1).len());
        let half = (a + b) / 2;
        let (left, right, node) = (self.child(index).arrays(), self.child(index + 1).arrays(), self.arrays());
        // SAFETY: three distinct nodes; no child gets more than its capacity, as one of them had less and the other no more than that. The value between the children goes
        // to the one that gets more, the outermost of those that move takes its place, and edges go with the values that they are next to.
        unsafe {
            if half < a {
                let count = a - half;
                right.copy_values(0, &right, count, b);
                right.copy_edges(0, &right, count, b + 1);
                node.copy_values(index, &right, count - 1, 1);
                left.copy_values(half + 1, &right, 0, count - 1);
                left.copy_edges(half + 1, &right, 0, count);
                left.copy_values(half, &node, index, 1);
            } else if half > a {
                let count = half - a;
                node.copy_values(index, &left, a, 1);
                right.copy_values(0, &left, a + 1, count - 1);
                right.copy_edges(0, &left, a + 1, count);
                right.copy_values(count - 1, &node, index, 1);
                right.copy_values(count, &right, 0, b - count);
                right.copy_edges(count, &right, 0, b + 1 - count);
            }
        }
        self.child(index).set_len(half);
        self.child(index + 1).set_len(a + b - half);
    }
}
