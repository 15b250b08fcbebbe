//! Ways through a B-tree: from the root to a value, and from value to value in order.
//!
//! Nodes do not know their parents, so that a split writes no child. A way is an index for each level instead; the next leaf is found from the root, through nodes that are in the
//! cache by then.

use super::node::{At, HEIGHT_MAX, Shared};
use crate::typed::Persist;
use std::borrow::Borrow;
use std::marker::PhantomData;

/// Which leaf is fetched when one is entered, counted from that one. A million numbers in order, interleaved on a busy machine, first quartile of 61 runs, ns a value: 16 without
/// (at best 3.8), 2.1 with 1, 1.9 with 2, and 1.8 with 4, 6 or 8, between which there is no difference to be seen.
const LEAVES_AHEAD: usize = 4;

/// The way from the root to a value, or to a place for one in a leaf.
#[derive(Clone, Copy)]
pub struct Path {
    index: [u8; HEIGHT_MAX],
    levels: usize,
}

impl Path {
    pub const EMPTY: Self = Self { index: [0; HEIGHT_MAX], levels: 0 };

    pub fn push(&mut self, index: usize) {
        self.index[self.levels] = index as u8;
        self.levels += 1;
    }

    /// The indices: of an edge on each level but the last, there of a value.
    pub fn indices(&self) -> &[u8] {
        &self.index[..self.levels]
    }
}

/// Where a value is, or is to be.
#[derive(Clone, Copy)]
pub struct Spot {
    pub at: At,
    pub index: usize,
}

/// Where a way is to lead.
pub enum Goal<'q, Q: ?Sized> {
    First,
    Last,
    /// Just before a key.
    Before(&'q Q),
    /// Just behind it.
    Behind(&'q Q),
}

/// A place between two neighbouring values, or before or behind all: each such place is at one index of one leaf.
#[derive(Clone, Copy)]
pub struct Edge {
    leaf: At,
    index: usize,
    path: Path,
}

impl Edge {
    /// The edge that `goal` says.
    pub fn find<K: Persist + Borrow<Q>, V: Persist, Q: Ord + ?Sized>(
        root: Shared<'_, K, V>,
        goal: Goal<'_, Q>,
    ) -> Self {
        let (mut node, mut goal, mut path) = (root, goal, Path::EMPTY);
        loop {
            let index = match &goal {
                Goal::First => 0,
                Goal::Last => node.len(),
                Goal::Before(key) => match node.search(*key) {
                    Ok(index) => {
                        goal = Goal::Last;
                        index
                    }
                    Err(index) => index,
                },
                Goal::Behind(key) => match node.search(*key) {
                    Ok(index) => {
                        goal = Goal::First;
                        index + 1
                    }
                    Err(index) => index,
                },
            };
            if node.level() == 0 {
                return Self { leaf: node.at(), index, path };
            }
            path.push(index);
            node = node.child(index);
        }
    }

    /// The first edge, or the last: it needs no order of keys.
    fn outermost<K, V>(root: Shared<'_, K, V>, last: bool) -> Self {
        let (mut node, mut path) = (root, Path::EMPTY);
        while node.level() > 0 {
            let index = if last { node.len() } else { 0 };
            path.push(index);
            node = node.child(index);
        }
        Self { leaf: node.at(), index: if last { node.len() } else { 0 }, path }
    }

    #[inline]
    fn is(&self, other: &Self) -> bool {
        self.leaf.addr == other.leaf.addr && self.index == other.index
    }

    /// Whether this edge is behind `other`.
    fn is_behind(&self, other: &Self) -> bool {
        (self.path.indices(), self.index) > (other.path.indices(), other.index)
    }
}

/// Goes from one edge of a tree to another, from both ends.
pub struct Steps<K, V> {
    /// And both edges, if there is a tree.
    ends: Option<(At, Edge, Edge)>,
    _reads: PhantomData<(K, V)>,
}

// Not derived: that would ask for keys and values that can be cloned.
impl<K, V> Clone for Steps<K, V> {
    fn clone(&self) -> Self {
        Self { ends: self.ends, _reads: PhantomData }
    }
}

impl<K, V> Steps<K, V> {
    /// Through no tree.
    pub const NONE: Self = Self { ends: None, _reads: PhantomData };

    /// From the first value to the last.
    ///
    /// # Safety
    /// The tree keeps its shape until the last step: no value is put in or taken out but by who takes these steps, and no node freed.
    pub unsafe fn all(root: Shared<'_, K, V>) -> Self {
        Self { ends: Some((root.at(), Edge::outermost(root, false), Edge::outermost(root, true))), _reads: PhantomData }
    }

    /// From `front` to `back`.
    ///
    /// # Panics
    /// If `back` is before `front`.
    ///
    /// # Safety
    /// As for [`Steps::all`]; both are edges of this tree.
    pub unsafe fn between(root: Shared<'_, K, V>, front: Edge, back: Edge) -> Self {
        assert!(!front.is_behind(&back), "the order of the keys contradicts itself");
        Self { ends: Some((root.at(), front, back)), _reads: PhantomData }
    }

    /// From `front` to the last value.
    ///
    /// # Safety
    /// As for [`Steps::between`].
    pub unsafe fn from(root: Shared<'_, K, V>, front: Edge) -> Self {
        Self { ends: Some((root.at(), front, Edge::outermost(root, true))), _reads: PhantomData }
    }

    /// The next value.
    #[inline]
    pub fn next(&mut self) -> Option<Spot> {
        let (root, front, back) = self.ends.as_mut()?;
        if front.is(back) {
            return None;
        }
        // SAFETY: nodes of a tree that keeps its shape, by the contract of whoever made these steps.
        let (root, leaf) = unsafe { (Shared::<K, V>::new(*root), Shared::<K, V>::new(front.leaf)) };
        if front.index < leaf.len() {
            front.index += 1;
            return Some(Spot { at: front.leaf, index: front.index - 1 });
        }
        let (depth, node) = deepest(root, &front.path, |node, index| index < node.len())?;
        let index = usize::from(front.path.index[depth]);
        front.path.levels = depth;
        front.path.push(index + 1);
        let mut below = node.child(index + 1);
        while below.level() > 0 {
            front.path.push(0);
            below = below.child(0);
        }
        (front.leaf, front.index) = (below.at(), 0);
        if node.level() == 1 && index + 1 + LEAVES_AHEAD <= node.len() {
            node.child(index + 1 + LEAVES_AHEAD).prefetch();
        }
        Some(Spot { at: node.at(), index })
    }

    /// The last value that is left.
    #[inline]
    pub fn next_back(&mut self) -> Option<Spot> {
        let (root, front, back) = self.ends.as_mut()?;
        if front.is(back) {
            return None;
        }
        if back.index > 0 {
            back.index -= 1;
            return Some(Spot { at: back.leaf, index: back.index });
        }
        // SAFETY: as in `next`.
        let root = unsafe { Shared::<K, V>::new(*root) };
        let (depth, node) = deepest(root, &back.path, |_, index| index > 0)?;
        let index = usize::from(back.path.index[depth]) - 1;
        back.path.levels = depth;
        back.path.push(index);
        let mut below = node.child(index);
        while below.level() > 0 {
            back.path.push(below.len());
            below = below.child(below.len());
        }
        (back.leaf, back.index) = (below.at(), below.len());
        Some(Spot { at: node.at(), index })
    }

    /// The way to the value that comes next, if there is one.
    pub fn path(&self) -> Option<Path> {
        let (root, front, back) = self.ends.as_ref()?;
        if front.is(back) {
            return None;
        }
        // SAFETY: as in `next`.
        let (root, leaf) = unsafe { (Shared::<K, V>::new(*root), Shared::<K, V>::new(front.leaf)) };
        let mut path = front.path;
        if front.index < leaf.len() {
            path.push(front.index);
        } else {
            path.levels = deepest(root, &path, |node, index| index < node.len())?.0 + 1;
        }
        Some(path)
    }
}

/// The lowest node on the way, above the leaf, for which `turns` holds, and its depth.
fn deepest<'a, K, V>(
    root: Shared<'a, K, V>,
    path: &Path,
    turns: impl Fn(Shared<'a, K, V>, usize) -> bool,
) -> Option<(usize, Shared<'a, K, V>)> {
    let (mut node, mut found) = (root, None);
    for (depth, index) in path.indices().iter().map(|index| usize::from(*index)).enumerate() {
        if turns(node, index) {
            found = Some((depth, node));
        }
        node = node.child(index);
    }
    found
}
