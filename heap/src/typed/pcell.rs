//! [`PCell`]: a value in a heap that one thread changes through shared references.

use super::{Persist, Schema, Walker};
use crate::base::Result;
use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;

/// A value in a heap that can be changed through a shared reference, by one thread at a time. The persistent `Cell`, with its methods; the value need not be `Copy`.
///
/// ```
/// # use strewn::{Heap, PBox, PCell};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("cell.heap"))?;
/// let section = heap.enter();
/// let seen = PBox::new_in(PCell::new(0), &section);
/// let again = &*seen;
/// again.set(again.get() + 1);
/// assert_eq!(seen.replace(7), 1);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// It is not `Sync`, so a [`Root`](crate::Root) that has one inside is borrowed by [`write`](crate::Root::write), or has it behind a [`PMutex`](crate::PMutex). It is written
/// through its own lane, as all that changes through shared references; see there.
#[repr(transparent)]
pub struct PCell<T> {
    value: Cell<T>,
}

impl<T> PCell<T> {
    /// A cell with `value`.
    pub const fn new(value: T) -> Self {
        Self { value: Cell::new(value) }
    }

    /// Puts in `value`, and drops what was there.
    #[inline]
    pub fn set(&self, value: T) {
        self.value.set(value);
    }

    /// Puts in `value`, and returns what was there.
    #[inline]
    pub fn replace(&self, value: T) -> T {
        self.value.replace(value)
    }

    /// Exchanges the values of two cells.
    #[inline]
    pub fn swap(&self, other: &Self) {
        self.value.swap(&other.value);
    }

    /// The value, and leaves the default there.
    #[inline]
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.value.take()
    }

    /// A copy of the value.
    #[inline]
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.value.get()
    }

    /// Puts in what `change` makes of the value.
    #[inline]
    pub fn update(&self, change: impl FnOnce(T) -> T)
    where
        T: Copy,
    {
        self.set(change(self.get()));
    }

    /// The value, to change it in place.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: Default> Default for PCell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for PCell<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: Copy> Clone for PCell<T> {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}

impl<T: Copy + PartialEq> PartialEq for PCell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Copy + Eq> Eq for PCell<T> {}

impl<T: Copy + PartialOrd> PartialOrd for PCell<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.get().partial_cmp(&other.get())
    }
}

impl<T: Copy + Ord> Ord for PCell<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.get().cmp(&other.get())
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for PCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PCell").field(&self.get()).finish()
    }
}

// SAFETY: the bytes of the value, which says what they are; they change through shared references, and it says so.
unsafe impl<T: Persist> Persist for PCell<T> {
    type In<'s> = PCell<T::In<'s>>;
    const INTERIOR: bool = true;
    fn describe(schema: &mut Schema) -> String {
        format!("PCell<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: a cell is its value; the contract is the same.
        unsafe { T::walk(this.cast(), walker) }
    }
}
