//! Iterators over maps.

use super::PBTreeMap;
use super::change::Unique;
use super::node::{At, Shared};
use super::path::Steps;
use crate::section::free;
use crate::typed::OwnsIn;
use crate::typed::Persist;
use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, needs_drop};

/// The values at a range of keys.
pub struct Range<'a, K, V> {
    pub(super) steps: Steps<K, V>,
    pub(super) _borrows: PhantomData<&'a (K, V)>,
}

/// The values at a range of keys, to change them.
pub struct RangeMut<'a, K, V> {
    pub(super) steps: Steps<K, V>,
    pub(super) _borrows: PhantomData<&'a mut (K, V)>,
}

/// The values of a map.
pub struct Iter<'a, K, V> {
    range: Range<'a, K, V>,
    left: usize,
}

/// The values of a map, to change them.
pub struct IterMut<'a, K, V> {
    range: RangeMut<'a, K, V>,
    left: usize,
}

/// The keys of a map.
pub struct Keys<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, without their keys.
pub struct Values<'a, K, V>(pub(super) Iter<'a, K, V>);

/// The values of a map, without their keys, to change them.
pub struct ValuesMut<'a, K, V>(pub(super) IterMut<'a, K, V>);

/// The values of a map, moved out one by one. The memory is freed at the end.
pub struct IntoIter<'s, K, V> {
    root: Option<At>,
    steps: Steps<K, V>,
    left: usize,
    _owns: OwnsIn<'s, (K, V)>,
}

/// The keys of a map, moved out one by one.
pub struct IntoKeys<'s, K, V>(pub(super) IntoIter<'s, K, V>);

/// The values of a map, moved out one by one, without their keys.
pub struct IntoValues<'s, K, V>(pub(super) IntoIter<'s, K, V>);

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn new(map: &'a PBTreeMap<'_, K, V>) -> Self {
        // SAFETY: the map is borrowed for as long as the steps are used.
        let steps = map.root().map_or(Steps::NONE, |root| unsafe { Steps::all(root) });
        Self { range: Range { steps, _borrows: PhantomData }, left: map.len() }
    }
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(super) fn new(map: &'a mut PBTreeMap<'_, K, V>) -> Self {
        // SAFETY: the map is borrowed alone for as long as the steps are used.
        let steps = map.root().map_or(Steps::NONE, |root| unsafe { Steps::all(root) });
        Self { range: RangeMut { steps, _borrows: PhantomData }, left: map.len() }
    }
}

impl<'s, K, V> IntoIter<'s, K, V> {
    pub(super) fn new(map: PBTreeMap<'s, K, V>) -> Self {
        let map = ManuallyDrop::new(map);
        // SAFETY: the tree belongs to this iterator from now on.
        let steps = map.root().map_or(Steps::NONE, |root| unsafe { Steps::all(root) });
        Self { root: map.root_at(), steps, left: map.len(), _owns: PhantomData }
    }
}

/// Frees the nodes of a tree, whose values are gone. It calls itself once a level.
///
/// # Safety
/// The tree is given up, and not used again.
unsafe fn free_nodes<K, V>(node: Shared<'_, K, V>) {
    if node.level() > 0 {
        // SAFETY: by the contract; what an edge leads to is part of the tree.
        (0..=node.len()).for_each(|index| unsafe { free_nodes(node.child(index)) });
    }
    free(node.at().addr);
}

impl<K, V> Drop for IntoIter<'_, K, V> {
    fn drop(&mut self) {
        /// Drops what is left, also if a value panics when it is dropped.
        struct Rest<'r, 's, K, V>(&'r mut IntoIter<'s, K, V>);
        impl<K, V> Drop for Rest<'_, '_, K, V> {
            fn drop(&mut self) {
                if needs_drop::<(K, V)>() {
                    self.0.for_each(drop);
                }
                if let Some(root) = self.0.root.take() {
                    self.0.steps = Steps::NONE;
                    // SAFETY: the tree belongs to this iterator, its values are gone, and the steps through it too.
                    unsafe { free_nodes(Shared::<K, V>::new(root)) };
                }
            }
        }
        let rest = Rest(self);
        if needs_drop::<(K, V)>() {
            rest.0.for_each(drop);
        }
    }
}

impl<K, V> Drop for PBTreeMap<'_, K, V> {
    fn drop(&mut self) {
        let empty = Self::of_heap(0);
        drop(IntoIter::new(std::mem::replace(self, empty)));
    }
}

/// What an iterator makes of a place in the tree.
macro_rules! steps {
    ([$($generics:tt)*] $name:ty, $item:ty, $make:expr) => {
        impl<$($generics)*> Iterator for $name {
            type Item = $item;
            #[inline]
            fn next(&mut self) -> Option<$item> {
                self.steps.next().map($make)
            }
        }
        impl<$($generics)*> DoubleEndedIterator for $name {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                self.steps.next_back().map($make)
            }
        }
        impl<$($generics)*> FusedIterator for $name {}
    };
}

steps!(['a, K: Persist, V: Persist] Range<'a, K, V>, (&'a K, &'a V), |spot| {
    // SAFETY: a node of a map that is borrowed for 'a.
    unsafe { Shared::new(spot.at) }.pair(spot.index)
});
steps!(['a, K: Persist, V: Persist] RangeMut<'a, K, V>, (&'a K, &'a mut V), |spot| {
    // SAFETY: a node of a map that is borrowed alone for 'a; each value is handed out once, and nothing but its bytes are written through the reference.
    unsafe { Unique::new(spot.at) }.into_pair(spot.index)
});

/// Iterators of a known length, made of others.
macro_rules! counted {
    ([$($generics:tt)*] $name:ty, $item:ty, |$this:ident| $inner:expr, $make:expr, $left:expr $(, $count:expr)?) => {
        impl<$($generics)*> Iterator for $name {
            type Item = $item;
            #[inline]
            fn next(&mut self) -> Option<$item> {
                let $this = self;
                let next = $inner.next()?;
                $($count;)?
                Some($make(next))
            }
            #[inline]
            fn size_hint(&self) -> (usize, Option<usize>) {
                let $this = self;
                ($left, Some($left))
            }
        }
        impl<$($generics)*> DoubleEndedIterator for $name {
            #[inline]
            fn next_back(&mut self) -> Option<$item> {
                let $this = self;
                let next = $inner.next_back()?;
                $($count;)?
                Some($make(next))
            }
        }
        impl<$($generics)*> ExactSizeIterator for $name {}
        impl<$($generics)*> FusedIterator for $name {}
    };
}

counted!(['a, K: Persist, V: Persist] Iter<'a, K, V>, (&'a K, &'a V), |this| this.range, |pair| pair, this.left, this.left -= 1);
counted!(['a, K: Persist, V: Persist] IterMut<'a, K, V>, (&'a K, &'a mut V), |this| this.range, |pair| pair, this.left, this.left -= 1);
counted!(['a, K: Persist, V: Persist] Keys<'a, K, V>, &'a K, |this| this.0, |(key, _)| key, this.0.left);
counted!(['a, K: Persist, V: Persist] Values<'a, K, V>, &'a V, |this| this.0, |(_, value)| value, this.0.left);
counted!(['a, K: Persist, V: Persist] ValuesMut<'a, K, V>, &'a mut V, |this| this.0, |(_, value)| value, this.0.left);
counted!(['s, K, V] IntoIter<'s, K, V>, (K, V), |this| this.steps, |spot: super::path::Spot| {
    // SAFETY: a node of the tree that belongs to this iterator; each step is taken once.
    unsafe { Shared::new(spot.at).take(spot.index) }
}, this.left, this.left -= 1);
counted!(['s, K, V] IntoKeys<'s, K, V>, K, |this| this.0, |(key, _)| key, this.0.left);
counted!(['s, K, V] IntoValues<'s, K, V>, V, |this| this.0, |(_, value)| value, this.0.left);

impl<K, V> Clone for Range<'_, K, V> {
    fn clone(&self) -> Self {
        Self { steps: self.steps.clone(), _borrows: PhantomData }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { range: self.range.clone(), left: self.left }
    }
}

impl<K, V> Clone for Keys<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Clone for Values<'_, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

macro_rules! debug {
    ($($name:ident)*) => {
        $(
            impl<K: Persist + fmt::Debug, V: Persist + fmt::Debug> fmt::Debug for $name<'_, K, V> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_list().entries(self.clone()).finish()
                }
            }
        )*
    };
}

debug!(Range Iter Keys Values);

impl<'s, K, V> IntoIterator for PBTreeMap<'s, K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<'s, K, V>;

    fn into_iter(self) -> IntoIter<'s, K, V> {
        IntoIter::new(self)
    }
}

impl<'a, K: Persist, V: Persist> IntoIterator for &'a PBTreeMap<'_, K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K: Persist, V: Persist> IntoIterator for &'a mut PBTreeMap<'_, K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
