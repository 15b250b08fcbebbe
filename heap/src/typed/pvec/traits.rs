//! What arrays have in common with slices.

use super::PVec;
use crate::typed::{Persist, expect};
use std::borrow::{Borrow, BorrowMut};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::slice::SliceIndex;

impl<T: Persist> Deref for PVec<'_, T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Persist> DerefMut for PVec<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

impl<T: Persist, I: SliceIndex<[T]>> Index<I> for PVec<'_, T> {
    type Output = I::Output;
    #[inline]
    fn index(&self, index: I) -> &I::Output {
        &self.as_slice()[index]
    }
}

impl<T: Persist, I: SliceIndex<[T]>> IndexMut<I> for PVec<'_, T> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut I::Output {
        &mut self.as_mut_slice()[index]
    }
}

impl<T: Persist + Clone> Clone for PVec<'_, T> {
    /// Copies the values, in the same heap.
    fn clone(&self) -> Self {
        let tag = if self.capacity == 0 { self.addr } else { expect(super::tag_of(self.addr)) };
        let mut copy = Self { addr: tag, len: 0, capacity: 0, _owns: self._owns };
        copy.extend_from_slice(self);
        copy
    }
}

impl<T: Persist> AsRef<[T]> for PVec<'_, T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Persist> AsMut<[T]> for PVec<'_, T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T: Persist> Borrow<[T]> for PVec<'_, T> {
    fn borrow(&self) -> &[T] {
        self
    }
}

impl<T: Persist> BorrowMut<[T]> for PVec<'_, T> {
    fn borrow_mut(&mut self) -> &mut [T] {
        self
    }
}

macro_rules! equal_to {
    ($([$($more:tt)*] $other:ty;)*) => {
        $(
            impl<T: Persist + PartialEq<U>, U $($more)*> PartialEq<$other> for PVec<'_, T> {
                fn eq(&self, other: &$other) -> bool {
                    self.as_slice() == &other[..]
                }
            }
        )*
    };
}

equal_to! {
    [: Persist] PVec<'_, U>;
    [] [U];
    [] &[U];
    [, const N: usize] [U; N];
    [, const N: usize] &[U; N];
    [] Vec<U>;
}

impl<T: Persist + Eq> Eq for PVec<'_, T> {}

impl<T: Persist + PartialOrd> PartialOrd for PVec<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.as_slice().partial_cmp(other.as_slice())
    }
}

impl<T: Persist + Ord> Ord for PVec<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<T: Persist + Hash> Hash for PVec<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: Persist + fmt::Debug> fmt::Debug for PVec<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// Appends the bytes. Never blocks.
impl io::Write for PVec<'_, u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_extend_from_slice(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
