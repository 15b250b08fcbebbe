//! [`PVec`]: a growable array in a heap.

use super::OwnsIn;
use super::access::{own_ptr, read_ptr, write_ptr};
use super::{Persist, Schema, Walker, allocate_beside, allocate_in, expect};
use crate::alloc::usable_like;
use crate::base::{Error, ErrorKind, Result};
use crate::section::{Section, free, here, note_type};
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::slice;

mod iter;
mod traits;

pub use iter::{CollectIn, FromIteratorIn};

/// A growable array in a heap. The persistent `Vec`. An empty one owns no memory.
///
/// ```
/// # use strewn::{CollectIn, Heap, PVec};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("vec.heap"))?;
/// let section = heap.enter();
/// let mut numbers = PVec::new_in(&section);
/// numbers.push(3);
/// numbers.extend([1, 2]);
/// numbers.sort();
/// assert_eq!(numbers, [1, 2, 3]);
/// let squares: PVec<u64> = numbers.iter().map(|n| n * n).collect_in(&section);
/// assert_eq!(squares.last(), Some(&9));
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// Everything that a slice has is there through `Deref`. It grows into whole slots and pages, so its capacity is often more than was asked for. Dropping it drops its values
/// and frees its memory. There are no values without a size:
///
/// ```compile_fail
/// # use strewn::{Heap, PVec, Result};
/// # fn main() -> Result<()> {
/// let heap = Heap::open("units.heap")?;
/// PVec::<()>::new_in(&heap.enter()).push(());
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// What grows panics if the heap is full, or if this thread is inside no section of the heap (only another thread's values can be): `try_reserve` first, or the `try_` twin.
#[repr(C)]
pub struct PVec<'s, T> {
    /// The tag of the heap (Y2) while the capacity is 0.
    addr: u64,
    len: u64,
    capacity: u64,
    _owns: OwnsIn<'s, T>,
}

impl<'s, T: Persist> PVec<'s, T> {
    const NOT_ZERO_SIZED: () = assert!(size_of::<T>() > 0, "a PVec of values without a size");

    /// An empty array in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        let () = Self::NOT_ZERO_SIZED;
        Self { addr: section.engine().tag(), len: 0, capacity: 0, _owns: PhantomData }
    }

    /// An empty array with room for `capacity` values.
    pub fn with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Self {
        expect(Self::try_with_capacity_in(capacity, section))
    }

    /// An empty array with room for `capacity` values.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`.
    pub fn try_with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Result<Self> {
        let mut vec = Self::new_in(section);
        vec.try_reserve(capacity)?;
        Ok(vec)
    }

    /// An array of copies of `values`.
    pub fn from_slice_in(values: &[T], section: &'s Section<'_>) -> Self
    where
        T: Clone,
    {
        let mut vec = Self::new_in(section);
        vec.extend_from_slice(values);
        vec
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values fit without growing.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The address of the values, while there is memory for any. It changes when the array grows.
    pub fn address(&self) -> Option<u64> {
        (self.capacity > 0).then_some(self.addr)
    }

    /// The values.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the array owns `len` initialised values at `addr`, in memory allocated for its layout, mapped while the array lives (Y1). It is borrowed, so nobody has
        // a unique reference; what can be changed through a shared one is read through its own lane.
        unsafe { slice::from_raw_parts(read_ptr(self.addr, Self::layout(self.capacity())), self.len()) }
    }

    /// The values, to change them.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let len = self.len();
        if len == 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`, and the array is borrowed uniquely.
        unsafe { slice::from_raw_parts_mut(self.written(0, len), len) }
    }

    /// Makes room for `more` values beyond the present ones.
    pub fn reserve(&mut self, more: usize) {
        expect(self.try_reserve(more));
    }

    /// Makes room for `more` values beyond the present ones.
    ///
    /// # Errors
    /// `HeapFull`, `OutOfMemory`, `NotInSection`; `InvalidArgument` for more than fit in the address space. The array is as it was.
    #[inline]
    pub fn try_reserve(&mut self, more: usize) -> Result<()> {
        if more <= self.capacity() - self.len() {
            return Ok(());
        }
        let wanted = self.len().checked_add(more).ok_or_else(Self::too_long)?;
        self.move_to(wanted.max(self.capacity().saturating_mul(2)))
    }

    /// Gives back what is not needed.
    pub fn shrink_to_fit(&mut self) {
        if self.len == 0 {
            self.give_back();
        } else if let Ok(layout) = Layout::array::<T>(self.len())
            && usable_like(layout) < self.capacity() * size_of::<T>()
        {
            expect(self.move_to(self.len()));
        }
    }

    /// Appends `value`.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.len == self.capacity {
            expect(self.try_reserve(1));
        }
        // SAFETY: there is room for one more value.
        unsafe { self.append(value) };
    }

    /// Appends `value`.
    ///
    /// # Errors
    /// As for [`PVec::try_reserve`]; `value` is dropped then.
    #[inline]
    pub fn try_push(&mut self, value: T) -> Result<()> {
        self.try_reserve(1)?;
        // SAFETY: there is room for one more value.
        unsafe { self.append(value) };
        Ok(())
    }

    /// Takes out the last value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        self.len -= 1;
        // SAFETY: the value at the former last place is initialised, and no longer counted.
        Some(unsafe { self.value_ptr(self.len()).read() })
    }

    /// Puts `value` at `index`, and moves what was there and behind one place on.
    ///
    /// # Panics
    /// If `index` is greater than the length.
    pub fn insert(&mut self, index: usize, value: T) {
        assert!(index <= self.len(), "insertion index {index} of {} values", self.len());
        self.push(value);
        self.as_mut_slice()[index..].rotate_right(1);
    }

    /// Takes out the value at `index`, and moves those behind one place back.
    ///
    /// # Panics
    /// If there is none.
    pub fn remove(&mut self, index: usize) -> T {
        assert!(index < self.len(), "removal index {index} of {} values", self.len());
        self.as_mut_slice()[index..].rotate_left(1);
        self.pop().expect("not empty: `index` was in bounds")
    }

    /// Takes out the value at `index`, and puts the last one in its place.
    ///
    /// # Panics
    /// If there is none.
    pub fn swap_remove(&mut self, index: usize) -> T {
        assert!(index < self.len(), "swap_remove index {index} of {} values", self.len());
        let last = self.len() - 1;
        self.as_mut_slice().swap(index, last);
        self.pop().expect("not empty: `index` was in bounds")
    }

    /// Drops all values but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        while self.len() > len {
            drop(self.pop());
        }
    }

    /// Drops all values; the memory is kept.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Keeps the values for which `keep` is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        for at in 0..self.len() {
            if keep(&self.as_slice()[at]) {
                if kept != at {
                    self.as_mut_slice().swap(kept, at);
                }
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Makes the array `len` values long: drops what is beyond, or appends copies of `value`.
    pub fn resize(&mut self, len: usize, value: T)
    where
        T: Clone,
    {
        self.truncate(len);
        if len > self.len() {
            self.reserve(len - self.len());
            while self.len() + 1 < len {
                self.push(value.clone());
            }
            self.push(value);
        }
    }

    /// Appends copies of all of `values`.
    pub fn extend_from_slice(&mut self, values: &[T])
    where
        T: Clone,
    {
        expect(self.try_extend_from_slice(values));
    }

    /// Appends copies of all of `values`.
    ///
    /// # Errors
    /// As for [`PVec::try_reserve`].
    pub fn try_extend_from_slice(&mut self, values: &[T]) -> Result<()>
    where
        T: Clone,
    {
        self.try_reserve(values.len())?;
        for value in values {
            // SAFETY: there is room for all of them; a clone that panics leaves what was appended by then.
            unsafe { self.append(value.clone()) };
        }
        Ok(())
    }

    /// Moves all values of `other` to the end of this array.
    pub fn append_all(&mut self, other: &mut Self) {
        self.reserve(other.len());
        self.extend(other.drain(..));
    }

    /// Takes out the values in `range`. They are gone from the array at once, whatever is done with what is returned.
    ///
    /// # Panics
    /// If the range is not within the array.
    pub fn drain(&mut self, range: impl RangeBounds<usize>) -> std::vec::IntoIter<T> {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.checked_add(1).expect("the range starts beyond the largest index"),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at.checked_add(1).expect("the range ends beyond the largest index"),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => self.len(),
        };
        assert!(start <= end && end <= self.len(), "range {start}..{end} of {} values", self.len());
        self.as_mut_slice()[start..].rotate_left(end - start);
        let rest = self.len() - (end - start);
        let mut taken = Vec::with_capacity(end - start);
        // SAFETY: the values behind `rest` are initialised, and no longer counted from here on; `taken` has room for them.
        unsafe {
            self.value_ptr(rest).copy_to_nonoverlapping(taken.as_mut_ptr(), end - start);
            self.len = rest as u64;
            taken.set_len(end - start);
        }
        taken.into_iter()
    }

    /// Appends `value`.
    ///
    /// # Safety
    /// There is room for it.
    #[inline]
    unsafe fn append(&mut self, value: T) {
        let at = self.len();
        // SAFETY: within the capacity, by the contract; nothing is there yet.
        unsafe { self.written(at, 1).write(value) };
        self.len += 1;
    }

    /// Where the value at `at` is to be read: within the capacity.
    #[inline]
    fn value_ptr(&self, at: usize) -> *const T {
        read_ptr::<T>(self.addr + (at * size_of::<T>()) as u64, Self::layout(self.capacity()))
    }

    /// Where `count` values from `at` on are to be written.
    ///
    /// # Safety
    /// There is room for some, and for these.
    #[inline]
    unsafe fn written(&mut self, at: usize, count: usize) -> *mut T {
        let addr = self.addr + (at * size_of::<T>()) as u64;
        // SAFETY: the array has memory, by the contract; it is borrowed, in a section of its heap.
        unsafe { write_ptr(addr, count * size_of::<T>(), Self::layout(self.capacity())) }
    }

    /// Moves the values to new memory with room for `capacity`.
    #[cold]
    fn move_to(&mut self, capacity: usize) -> Result<()> {
        let () = Self::NOT_ZERO_SIZED;
        let layout = Layout::array::<T>(capacity).map_err(|_| Self::too_long())?;
        let addr = match self.capacity {
            0 => allocate_in(self.addr, layout)?,
            _ => allocate_beside(self.addr, layout)?,
        };
        note_type::<[T]>(addr);
        if self.capacity > 0 {
            let from = read_ptr::<T>(self.addr, Self::layout(self.capacity()));
            // SAFETY: `len` values are initialised at the old address, which is given up; the new memory is distinct and large enough.
            unsafe { own_ptr::<T>(addr).copy_from_nonoverlapping(from, self.len()) };
            free(self.addr);
        }
        self.addr = addr;
        self.capacity = (usable_like(layout) / size_of::<T>()) as u64;
        Ok(())
    }

    /// Frees the memory, which holds no value; or keeps it, if this thread is not inside a section of the heap.
    fn give_back(&mut self) {
        if self.capacity > 0
            && let Ok(Some(tag)) = here(|here| Ok(here.engine().allocator.owns(self.addr).then(|| here.engine().tag())))
        {
            free(std::mem::replace(&mut self.addr, tag));
            self.capacity = 0;
        }
    }

    fn layout(capacity: usize) -> Layout {
        // SAFETY: the memory was allocated with a layout of at least this size, which was checked then; the alignment is that of a type.
        unsafe { Layout::from_size_align_unchecked(capacity * size_of::<T>(), align_of::<T>()) }
    }

    #[cold]
    fn too_long() -> Error {
        let what = format!("a PVec of {} cannot be that long", std::any::type_name::<T>());
        Error::new(ErrorKind::InvalidArgument, what)
    }
}

/// The tag of the heap that the object at `addr` is in, of which this thread is inside a section.
fn tag_of(addr: u64) -> Result<u64> {
    here(|here| if here.engine().allocator.owns(addr) { Ok(here.engine().tag()) } else { Err(super::not_here()) })
}

impl<T> Drop for PVec<'_, T> {
    fn drop(&mut self) {
        if self.capacity == 0 {
            return;
        }
        let values = std::ptr::slice_from_raw_parts_mut(own_ptr::<T>(self.addr), self.len as usize);
        // SAFETY: the array owns `len` initialised values at `addr`, which are dropped here and nowhere else.
        unsafe { values.drop_in_place() };
        free(self.addr);
    }
}

// SAFETY: an address of the heap, or its tag, and two numbers; the object is named to the walker, with the values that are counted.
unsafe impl<T: Persist> Persist for PVec<'_, T> {
    type In<'s> = PVec<'s, T::In<'s>>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        format!("PVec<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: readable by the contract of this function; all three are plain numbers.
        let (addr, len, capacity) = unsafe { ((*this).addr, (*this).len, (*this).capacity) };
        if len > capacity {
            return Err(walker.invalid::<Self>(format_args!("length {len} with a capacity of {capacity}")));
        }
        if capacity == 0 {
            return walker.belongs::<Self>(addr);
        }
        let bytes = usize::try_from(capacity).ok().and_then(|capacity| capacity.checked_mul(size_of::<T>()));
        let bytes = bytes.ok_or_else(|| walker.invalid::<Self>(format_args!("a capacity of {capacity}")))?;
        walker.owns::<T>(addr, len as usize, bytes)
    }
}
