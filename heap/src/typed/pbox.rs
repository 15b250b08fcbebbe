//! [`PBox`]: one owned object in a heap.

use super::{Persist, read_ptr, write_ptr};
use crate::base::Result;
use crate::section::Section;
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU64;

/// An owned object in a heap, one word. The persistent `Box`.
///
/// Dropping a `PBox` frees nothing, because that takes a section: see [`PBox::free`].
#[repr(transparent)]
pub struct PBox<T> {
    addr: NonZeroU64,
    _owns: PhantomData<T>,
}

impl<T: Persist> PBox<T> {
    /// Moves `value` into the heap of `section`.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`; `value` is dropped then.
    pub fn new(value: T, section: &Section<'_>) -> Result<Self> {
        let addr = section.alloc_address(Layout::new::<T>())?;
        // SAFETY: the memory was just allocated for a T, and nobody else knows it.
        unsafe { write_ptr::<T>(addr).write(value) };
        // SAFETY: same.
        Ok(unsafe { Self::from_address(addr) })
    }

    /// Reads the object.
    ///
    /// # Panics
    /// If the box belongs to another heap than `section`; see [`PBox::belongs_to`].
    #[inline]
    pub fn get<'a>(&'a self, section: &'a Section<'_>) -> &'a T {
        self.assert_owner(section);
        // SAFETY: the box owns an initialised T at its address, which is mapped while the section borrows the heap. It is borrowed for 'a, so nobody has a
        // unique reference; and shared references never write (`Persist` excludes interior mutability).
        unsafe { &*read_ptr::<T>(self.addr.get(), Layout::new::<T>()) }
    }

    /// Gives access to change the object; the write is caught by hardware, whenever it happens in the section.
    ///
    /// # Panics
    /// If the box belongs to another heap than `section`.
    #[inline]
    pub fn get_mut<'a>(&'a mut self, section: &'a Section<'_>) -> &'a mut T {
        self.assert_owner(section);
        // SAFETY: as in `get`, and the box is borrowed uniquely for 'a; it is the only owner.
        unsafe { &mut *write_ptr::<T>(self.addr.get()) }
    }

    /// Moves the object out of the heap and frees its memory.
    ///
    /// # Panics
    /// If the box belongs to another heap than `section`.
    pub fn into_inner(self, section: &Section<'_>) -> T {
        self.assert_owner(section);
        // SAFETY: the box owns an initialised T, and is gone after this call.
        let value = unsafe { write_ptr::<T>(self.addr.get()).read() };
        section.free_address(self.addr.get());
        value
    }

    /// Frees the object. What it owns in turn is not freed: free that first.
    ///
    /// # Panics
    /// If the box belongs to another heap than `section`.
    pub fn free(self, section: &Section<'_>) {
        drop(self.into_inner(section));
    }

    /// Whether the object is in the heap of `section`.
    #[inline]
    pub fn belongs_to(&self, section: &Section<'_>) -> bool {
        section.owns_address(self.addr.get())
    }

    /// The object's address: the same for as long as it lives, in every process.
    pub fn address(&self) -> u64 {
        self.addr.get()
    }

    /// The box that owns the object at `addr`.
    ///
    /// # Safety
    /// `addr` is not zero and holds an initialised T, allocated for the layout of T, that nothing else owns.
    pub(crate) unsafe fn from_address(addr: u64) -> Self {
        // SAFETY: not zero, by the contract.
        Self { addr: unsafe { NonZeroU64::new_unchecked(addr) }, _owns: PhantomData }
    }

    #[inline]
    fn assert_owner(&self, section: &Section<'_>) {
        assert!(self.belongs_to(section), "the object at {:#x} is not in the heap of this section", self.addr);
    }
}

impl<T> fmt::Debug for PBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PBox({:#x})", self.addr)
    }
}
