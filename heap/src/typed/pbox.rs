//! [`PBox`]: one owned object in a heap.

use super::OwnsIn;
use super::access::{own_ptr, read_ptr, write_ptr};
use super::{Persist, Schema, Walker};
use crate::arena::Writes;
use crate::base::Result;
use crate::section::{Section, free, note_type};
use std::alloc::Layout;
use std::borrow::{Borrow, BorrowMut};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ops::{Deref, DerefMut};

/// An owned object in a heap, one word. The persistent `Box`.
///
/// ```
/// # use strewn::{Heap, PBox};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("box.heap"))?;
/// let section = heap.enter();
/// let mut answer = PBox::new_in(41, &section);
/// *answer += 1;
/// assert_eq!(*answer, 42);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// Dropping it frees the object, and what that owns in turn.
#[repr(transparent)]
pub struct PBox<'s, T> {
    addr: NonZeroU64,
    _owns: OwnsIn<'s, T>,
}

impl<'s, T: Persist> PBox<'s, T> {
    /// Moves `value` into the heap of `section`.
    ///
    /// # Panics
    /// If the heap is full; see [`PBox::try_new_in`].
    pub fn new_in(value: T, section: &'s Section<'_>) -> Self {
        match Self::try_new_in(value, section) {
            Ok(new) => new,
            Err(e) => panic!("{e}"),
        }
    }

    /// Moves `value` into the heap of `section`.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`; `value` is dropped then.
    pub fn try_new_in(value: T, section: &'s Section<'_>) -> Result<Self> {
        let addr = section.alloc_address(Layout::new::<T>())?;
        note_type::<T>(addr);
        // SAFETY: the memory was just allocated for a T, and nobody else knows it.
        unsafe { own_ptr::<T>(addr).write(value) };
        // SAFETY: same.
        Ok(unsafe { Self::from_address(addr) })
    }

    /// Moves the object out of the heap and frees its memory.
    pub fn into_inner(this: Self) -> T {
        let addr = Self::into_address(this);
        // SAFETY: the box owned an initialised T, and is gone.
        let value = unsafe { own_ptr::<T>(addr).read() };
        free(addr);
        value
    }

    /// Gives up the box, and keeps the object for the rest of the section. After that it is a leak: see [`Heap::leaks`](crate::Heap::leaks).
    pub fn leak(this: Self) -> &'s mut T {
        let addr = Self::into_address(this);
        // SAFETY: an initialised T that nothing else owns; 's ends before the section does.
        unsafe { &mut *write_ptr::<T>(addr, size_of::<T>(), Layout::new::<T>()) }
    }
}

impl<T> PBox<'_, T> {
    /// The object's address: the same for as long as it lives, in every process.
    pub fn address(this: &Self) -> u64 {
        this.addr.get()
    }

    /// Gives up the box, not the object.
    pub(crate) fn into_address(this: Self) -> u64 {
        std::mem::ManuallyDrop::new(this).addr.get()
    }

    /// The box that owns the object at `addr`.
    ///
    /// # Safety
    /// `addr` is not zero and holds an initialised T, allocated for the layout of T, that nothing else owns, in a heap of which a section lasts at least as long as
    /// the lifetime of the box.
    pub(crate) unsafe fn from_address(addr: u64) -> Self {
        // SAFETY: not zero, by the contract.
        Self { addr: unsafe { NonZeroU64::new_unchecked(addr) }, _owns: PhantomData }
    }
}

impl<T> Drop for PBox<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the box owns an initialised T, which is dropped here and nowhere else.
        unsafe { own_ptr::<T>(self.addr.get()).drop_in_place() };
        free(self.addr.get());
    }
}

impl<T: Persist> Deref for PBox<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the box owns an initialised T at its address, which is mapped while the box lives: no longer than a section. It is borrowed, so nobody has a unique
        // reference; what can be changed through a shared one is read through its own lane.
        unsafe { &*read_ptr::<T>(self.addr.get(), Layout::new::<T>()) }
    }
}

impl<T: Persist> DerefMut for PBox<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the box is borrowed uniquely; it is the only owner.
        unsafe { &mut *write_ptr::<T>(self.addr.get(), size_of::<T>(), Layout::new::<T>()) }
    }
}

// SAFETY: an address of the heap, which is the same in every process; the object is named to the walker.
unsafe impl<T: Persist> Persist for PBox<'_, T> {
    type In<'s> = PBox<'s, T::In<'s>>;
    const INTERIOR: bool = false;
    const WRITES: Writes = Writes::OfHeap;
    fn describe(schema: &mut Schema) -> String {
        format!("PBox<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: a box is one word, readable by the contract of this function.
        walker.owns::<T>(unsafe { this.cast::<u64>().read() }, 1, size_of::<T>())
    }
}

impl<T: Persist + Clone> Clone for PBox<'_, T> {
    /// Copies the object, in the same heap.
    ///
    /// # Panics
    /// If the heap is full, or if this thread is not inside a section of it.
    fn clone(&self) -> Self {
        let value = T::clone(self);
        let addr = super::expect(super::allocate_beside(self.addr.get(), Layout::new::<T>()));
        note_type::<T>(addr);
        // SAFETY: the memory was just allocated for a T, in the heap of this box, and nobody else knows it.
        unsafe {
            own_ptr::<T>(addr).write(value);
            Self::from_address(addr)
        }
    }
}

impl<T: Persist> AsRef<T> for PBox<'_, T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: Persist> AsMut<T> for PBox<'_, T> {
    fn as_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Persist> Borrow<T> for PBox<'_, T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: Persist> BorrowMut<T> for PBox<'_, T> {
    fn borrow_mut(&mut self) -> &mut T {
        self
    }
}

impl<T: Persist + PartialEq> PartialEq for PBox<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Persist + Eq> Eq for PBox<'_, T> {}

impl<T: Persist + PartialOrd> PartialOrd for PBox<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Persist + Ord> Ord for PBox<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Persist + Hash> Hash for PBox<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Persist + fmt::Debug> fmt::Debug for PBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Persist + fmt::Display> fmt::Display for PBox<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
