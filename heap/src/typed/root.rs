//! [`Root`]: a named object from which a program finds everything else.

use super::{PBox, Persist, read_ptr, write_ptr};
use crate::base::sync::lock;
use crate::base::{Error, ErrorKind, Result};
use crate::checkpoint::RootType;
use crate::heap::Heap;
use crate::section::Section;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A named object of a heap. Its type is checked when it is found; who borrows it, when it is read or written.
pub struct Root<'h, T> {
    heap: &'h Heap,
    name: String,
    addr: u64,
    _owns: PhantomData<T>,
}

/// Shared access to a root, for the rest of a section.
pub struct RootRef<'r, T: Persist> {
    root: &'r Root<'r, T>,
    value: &'r T,
}

/// Unique access to a root, for the rest of a section.
pub struct RootMut<'r, T: Persist> {
    root: &'r Root<'r, T>,
    value: &'r mut T,
}

impl Heap {
    /// Finds the root `name`, or creates it with what `init` returns.
    ///
    /// # Errors
    /// `RootType` if the root holds another type (by name, size and alignment); what `init` returns; `HeapFull`, `OutOfMemory`, `Forked`.
    pub fn root<T: Persist>(&self, name: &str, init: impl FnOnce(&Section<'_>) -> Result<T>) -> Result<Root<'_, T>> {
        if let Some(root) = self.find_root(name)? {
            return Ok(root);
        }
        let section = self.try_enter()?;
        let value = PBox::new(init(&section)?, &section)?;
        let addr = value.address();
        if lock(&self.engine().roots).insert(name, RootType::of::<T>(), addr) {
            return Ok(Root { heap: self, name: name.to_string(), addr, _owns: PhantomData });
        }
        // Another thread, or `init` itself, was faster.
        value.free(&section);
        self.find_root(name)?.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("root `{name}` came and went")))
    }

    /// Finds the root `name`, if there is one.
    ///
    /// # Errors
    /// `RootType` if it holds another type.
    pub fn find_root<T: Persist>(&self, name: &str) -> Result<Option<Root<'_, T>>> {
        let addr = lock(&self.engine().roots).find(name, &RootType::of::<T>())?;
        Ok(addr.map(|addr| Root { heap: self, name: name.to_string(), addr, _owns: PhantomData }))
    }
}

impl<T: Persist> Root<'_, T> {
    /// Reads the root.
    ///
    /// # Errors
    /// `RootBorrowed` if someone is writing it; `InvalidArgument` if `section` is of another heap.
    pub fn read<'r>(&'r self, section: &'r Section<'_>) -> Result<RootRef<'r, T>> {
        self.borrow(section, false)?;
        // SAFETY: the root's address holds an initialised T (its type was checked when it was found) for as long as the heap is open. The table has just granted
        // a shared borrow, which lasts as long as the guard.
        let value = unsafe { &*read_ptr::<T>(self.addr, Layout::new::<T>()) };
        Ok(RootRef { root: self, value })
    }

    /// Gives access to change the root.
    ///
    /// # Errors
    /// `RootBorrowed` if someone is reading or writing it; `InvalidArgument` if `section` is of another heap.
    pub fn write<'r>(&'r self, section: &'r Section<'_>) -> Result<RootMut<'r, T>> {
        self.borrow(section, true)?;
        // SAFETY: as in `read`; the borrow that the table granted is unique.
        let value = unsafe { &mut *write_ptr::<T>(self.addr) };
        Ok(RootMut { root: self, value })
    }

    /// The root's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn borrow(&self, section: &Section<'_>, alone: bool) -> Result<()> {
        if !std::ptr::eq(section.engine(), self.heap.engine()) {
            let what = format!("root `{}` is of {}, the section is not", self.name, self.heap.path().display());
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        lock(&self.heap.engine().roots).borrow(&self.name, alone)
    }

    fn release(&self, alone: bool) {
        lock(&self.heap.engine().roots).release(&self.name, alone);
    }
}

impl<T: Persist> Deref for RootRef<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T: Persist> Deref for RootMut<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T: Persist> DerefMut for RootMut<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

impl<T: Persist> Drop for RootRef<'_, T> {
    fn drop(&mut self) {
        self.root.release(false);
    }
}

impl<T: Persist> Drop for RootMut<'_, T> {
    fn drop(&mut self) {
        self.root.release(true);
    }
}
