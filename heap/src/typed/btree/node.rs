//! The nodes of a B-tree: their layout, and reading them. Changing them: `change.rs`.
//!
//! - N1. A node is one object of [`Shape::layout`] of its level: its length, its level, then the keys, the values and, above level 0, the edges, in one array each. The first `len`
//!   keys and values and the first `len + 1` edges are initialised. Each edge is the address of a node one level below, which that edge alone owns.
//! - N2. A handle ([`Shared`], [`Unique`](super::change::Unique)) is of a node of a tree that is borrowed for the handle's lifetime, alone or not; so N1 holds where it leads.

use crate::typed::Persist;
use crate::typed::access::{notes_ptr, read_ptr};
use std::alloc::Layout;
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::slice;

/// A leaf is at most this large, if six values fit.
const LEAF_BYTES: usize = 512;
/// The most values of a node, so that an index of an edge fits in a byte many times over, and a node's keys in few cache lines.
const CAPACITY_MAX: usize = 31;
/// The fewest: with 6, every node but a few has two values and three edges at least.
const CAPACITY_MIN: usize = 6;
/// No tree gets higher: a map of values of at least 72 bytes has at least three edges a node, and 3^30 of those do not fit in 47 bits of addresses; one of smaller values has four.
pub const HEIGHT_MAX: usize = 32;

/// The start of a node: what a walk takes it for. Its size says nothing about the node's, its alignment is the node's.
#[repr(C)]
pub struct Node<K, V> {
    pub len: u32,
    pub level: u32,
    _edges: [u64; 0],
    _keys: [K; 0],
    _values: [V; 0],
}

/// How the nodes of a map from `K` to `V` are laid out.
pub struct Shape<K, V>(PhantomData<(K, V)>);

impl<K, V> Shape<K, V> {
    /// How many values a node has room for.
    pub const CAPACITY: usize = {
        let bytes = size_of::<K>() + size_of::<V>();
        let fit = (LEAF_BYTES - 8) / if bytes == 0 { 1 } else { bytes };
        if fit > CAPACITY_MAX {
            CAPACITY_MAX
        } else if fit < CAPACITY_MIN {
            CAPACITY_MIN
        } else {
            fit
        }
    };
    /// How many values a node has at least, unless it is the root or the last of its level. Two nodes with one less than that together, and the value between them, fit in one.
    pub const MIN: usize = (Self::CAPACITY - 1) / 2;
    pub const KEYS: usize = 8usize.next_multiple_of(align_of::<K>());
    pub const VALUES: usize = (Self::KEYS + Self::CAPACITY * size_of::<K>()).next_multiple_of(align_of::<V>());
    pub const EDGES: usize = (Self::VALUES + Self::CAPACITY * size_of::<V>()).next_multiple_of(8);
    const LEAF: Layout = Self::layout_of(Self::VALUES + Self::CAPACITY * size_of::<V>());
    const INNER: Layout = Self::layout_of(Self::EDGES + (Self::CAPACITY + 1) * 8);

    /// The layout of nodes of `level`: 0 for leaves.
    #[inline]
    pub const fn layout(level: u32) -> Layout {
        if level == 0 { Self::LEAF } else { Self::INNER }
    }

    const fn layout_of(bytes: usize) -> Layout {
        let align = align_of::<Node<K, V>>();
        match Layout::from_size_align(bytes.next_multiple_of(align), align) {
            Ok(layout) => layout,
            Err(_) => panic!("a node of such values is too large"),
        }
    }
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub addr: u64,
    pub level: u32,
}

/// A node that is borrowed.
pub struct Shared<'a, K, V> {
    at: At,
    _borrows: PhantomData<&'a (K, V)>,
}

impl<K, V> Clone for Shared<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Shared<'_, K, V> {}

impl<'a, K, V> Shared<'a, K, V> {
    /// The node at `at`.
    ///
    /// # Safety
    /// N2.
    #[inline]
    pub unsafe fn new(at: At) -> Self {
        Self { at, _borrows: PhantomData }
    }

    #[inline]
    pub fn at(self) -> At {
        self.at
    }

    #[inline]
    pub fn level(self) -> u32 {
        self.at.level
    }

    /// How many values it has.
    #[inline]
    pub fn len(self) -> usize {
        // SAFETY: the node starts with its length (N1), which nobody changes while it is borrowed (N2).
        unsafe { (*self.notes().cast::<Node<K, V>>()).len as usize }
    }

    /// The node that edge `index` leads to.
    #[inline]
    pub fn child(self, index: usize) -> Self {
        assert!(self.level() > 0 && index <= self.len(), "edge {index} of a node at level {}", self.level());
        // SAFETY: one of the initialised edges (N1), which nobody changes while the node is borrowed (N2).
        let addr = unsafe { self.notes().add(Shape::<K, V>::EDGES).cast::<u64>().add(index).read() };
        Self { at: At { addr, level: self.level() - 1 }, _borrows: PhantomData }
    }

    /// Asks the processor to fetch it: neighbouring leaves are pages apart.
    #[inline]
    pub fn prefetch(self) {
        let lines = Shape::<K, V>::layout(self.at.level).size().min(2 * LEAF_BYTES);
        (0..lines).step_by(64).for_each(|line| crate::sys::prefetch(self.notes().wrapping_add(line)));
    }

    /// Moves the value at `index` out.
    ///
    /// # Safety
    /// `index` is below the length; the tree is being given up, and the value is not used again where it was.
    pub unsafe fn take(self, index: usize) -> (K, V) {
        debug_assert!(index < self.len());
        // SAFETY: initialised (N1), and moved out once, by the contract.
        unsafe {
            let key = self.notes().add(Shape::<K, V>::KEYS).cast::<K>().add(index).read();
            (key, self.notes().add(Shape::<K, V>::VALUES).cast::<V>().add(index).read())
        }
    }

    /// To read its length and its edges through.
    #[inline]
    fn notes(self) -> *const u8 {
        notes_ptr(self.at.addr, Shape::<K, V>::layout(self.at.level))
    }
}

impl<'a, K: Persist, V: Persist> Shared<'a, K, V> {
    /// Its keys.
    #[inline]
    pub fn keys(self) -> &'a [K] {
        // SAFETY: the first `len` keys are initialised (N1), and nobody has a unique reference to one (N2): no handle gives out any.
        unsafe { slice::from_raw_parts(self.values_ptr().add(Shape::<K, V>::KEYS).cast(), self.len()) }
    }

    /// The value at `index`.
    #[inline]
    pub fn value(self, index: usize) -> &'a V {
        assert!(index < self.len(), "value {index} of {}", self.len());
        // SAFETY: initialised (N1), and borrowed from a tree that is borrowed (N2).
        unsafe { &*self.values_ptr().add(Shape::<K, V>::VALUES).cast::<V>().add(index) }
    }

    /// The key and the value at `index`.
    #[inline]
    pub fn pair(self, index: usize) -> (&'a K, &'a V) {
        (&self.keys()[index], self.value(index))
    }

    /// Where `key` is among the keys, or where it would be. If the keys are in no order, it is some index up to the length all the same.
    #[inline]
    pub fn search<Q: Ord + ?Sized>(self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.keys().binary_search_by(|other| other.borrow().cmp(key))
    }

    #[inline]
    fn values_ptr(self) -> *const u8 {
        read_ptr::<Node<K, V>>(self.at.addr, Shape::<K, V>::layout(self.at.level)).cast()
    }
}
