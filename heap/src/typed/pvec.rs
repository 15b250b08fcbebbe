//! [`PVec`]: a growable array in a heap.

use super::{Persist, read_ptr, write_ptr};
use crate::base::{Error, ErrorKind, Result};
use crate::section::Section;
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;

/// A growable array in a heap. The persistent `Vec`. An empty one owns no memory.
///
/// It grows into whole slots and pages, so its capacity is often more than was asked for. Dropping a `PVec` frees nothing, because that takes a section: see [`PVec::free`].
///
/// Values without a size are refused by the compiler, as soon as one is to be stored:
///
/// ```compile_fail
/// # use strewn::{Heap, PVec, Result};
/// # fn main() -> Result<()> {
/// let heap = Heap::open("units.heap")?;
/// PVec::<()>::default().push((), &heap.enter())
/// # }
/// ```
#[repr(C)]
pub struct PVec<T> {
    /// 0 while the capacity is 0.
    addr: u64,
    len: u64,
    capacity: u64,
    _owns: PhantomData<T>,
}

impl<T> Default for PVec<T> {
    fn default() -> Self {
        Self { addr: 0, len: 0, capacity: 0, _owns: PhantomData }
    }
}

impl<T: Persist> PVec<T> {
    const NOT_ZERO_SIZED: () = assert!(size_of::<T>() > 0, "a PVec of values without a size");

    /// An empty array.
    pub fn new() -> Self {
        let () = Self::NOT_ZERO_SIZED;
        Self::default()
    }

    /// An array with the bytes of `values`.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`.
    pub fn from_slice(values: &[T], section: &Section<'_>) -> Result<Self>
    where
        T: Copy,
    {
        let mut vec = Self::new();
        vec.extend_from_slice(values, section)?;
        Ok(vec)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values fit without growing.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The address of the values, 0 while there is no memory for any. It changes when the array grows.
    pub fn address(&self) -> u64 {
        self.addr
    }

    /// Reads the values.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    #[inline]
    pub fn as_slice<'a>(&'a self, section: &'a Section<'_>) -> &'a [T] {
        if self.len == 0 {
            return &[];
        }
        self.assert_owner(section);
        // SAFETY: the array owns `len` initialised values at `addr`, in memory allocated for `layout`, mapped while the section borrows the heap. It is
        // borrowed for 'a, so nobody writes them.
        unsafe { std::slice::from_raw_parts(read_ptr(self.addr, Self::layout(self.capacity())), self.len()) }
    }

    /// Gives access to change the values.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    #[inline]
    pub fn as_mut_slice<'a>(&'a mut self, section: &'a Section<'_>) -> &'a mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        self.assert_owner(section);
        // SAFETY: as in `as_slice`, and the array is borrowed uniquely for 'a.
        unsafe { std::slice::from_raw_parts_mut(write_ptr(self.addr), self.len()) }
    }

    /// Makes room for `more` values beyond the present ones.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`; the array is as it was.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    pub fn reserve(&mut self, more: usize, section: &Section<'_>) -> Result<()> {
        let wanted = self.len().checked_add(more).ok_or_else(Self::too_long)?;
        if wanted <= self.capacity() {
            return Ok(());
        }
        self.grow(wanted.max(self.capacity() * 2), section)
    }

    /// Appends `value`.
    ///
    /// # Errors
    /// As for [`PVec::reserve`]; `value` is dropped then.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    #[inline]
    pub fn push(&mut self, value: T, section: &Section<'_>) -> Result<()> {
        self.reserve(1, section)?;
        self.assert_owner(section);
        // SAFETY: there is room for one more value behind the `len` present ones.
        unsafe { write_ptr::<T>(self.addr).add(self.len()).write(value) };
        self.len += 1;
        Ok(())
    }

    /// Appends all of `values`.
    ///
    /// # Errors
    /// As for [`PVec::reserve`].
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    pub fn extend_from_slice(&mut self, values: &[T], section: &Section<'_>) -> Result<()>
    where
        T: Copy,
    {
        if values.is_empty() {
            return Ok(());
        }
        self.reserve(values.len(), section)?;
        self.assert_owner(section);
        // SAFETY: there is room for them behind the `len` present ones, which `values`, borrowed elsewhere, cannot overlap.
        unsafe { write_ptr::<T>(self.addr).add(self.len()).copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        self.len += values.len() as u64;
        Ok(())
    }

    /// Takes out the last value.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    pub fn pop(&mut self, section: &Section<'_>) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        self.assert_owner(section);
        self.len -= 1;
        // SAFETY: the value at the former last place is initialised, and no longer counted.
        Some(unsafe { read_ptr::<T>(self.addr, Self::layout(self.capacity())).add(self.len()).read() })
    }

    /// Takes out the value at `index`, and puts the last one in its place.
    ///
    /// # Panics
    /// If `index` is out of bounds, or the array belongs to another heap than `section`.
    pub fn swap_remove(&mut self, index: usize, section: &Section<'_>) -> T {
        assert!(index < self.len(), "swap_remove index {index} of {} values", self.len());
        let last = self.len() - 1;
        self.as_mut_slice(section).swap(index, last);
        self.pop(section).expect("not empty: `index` was in bounds")
    }

    /// Removes all values; the memory is kept.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Frees the memory. What the values own in turn is not freed: free that first.
    ///
    /// # Panics
    /// If the array belongs to another heap than `section`.
    pub fn free(self, section: &Section<'_>) {
        if self.capacity > 0 {
            self.assert_owner(section);
            section.free_address(self.addr);
        }
    }

    #[cold]
    fn grow(&mut self, capacity: usize, section: &Section<'_>) -> Result<()> {
        let () = Self::NOT_ZERO_SIZED;
        let layout = Layout::array::<T>(capacity).map_err(|_| Self::too_long())?;
        if self.capacity > 0 {
            self.assert_owner(section);
        }
        let addr = section.alloc_address(layout)?;
        let usable = section.engine().allocator.usable_bytes(addr).expect("just allocated");
        if self.capacity > 0 {
            let from = read_ptr::<T>(self.addr, Self::layout(self.capacity()));
            // SAFETY: `len` values are initialised at the old address; the new memory is distinct and larger.
            unsafe { write_ptr::<T>(addr).copy_from_nonoverlapping(from, self.len()) };
            section.free_address(self.addr);
        }
        self.addr = addr;
        self.capacity = (usable / size_of::<T>()) as u64;
        Ok(())
    }

    fn layout(capacity: usize) -> Layout {
        Layout::array::<T>(capacity).expect("the memory was allocated with this layout")
    }

    #[cold]
    fn too_long() -> Error {
        let what = format!("a PVec of {} cannot be that long", std::any::type_name::<T>());
        Error::new(ErrorKind::InvalidArgument, what)
    }

    #[inline]
    fn assert_owner(&self, section: &Section<'_>) {
        assert!(section.owns_address(self.addr), "the array at {:#x} is not in the heap of this section", self.addr);
    }
}

impl<T> fmt::Debug for PVec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PVec({:#x}, {} of {})", self.addr, self.len, self.capacity)
    }
}
