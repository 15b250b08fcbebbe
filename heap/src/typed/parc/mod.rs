//! [`PArc`]: an object in a heap with several owners.

mod count;
mod traits;

use super::access::{own_ptr, read_ptr, write_ptr};
use super::{OwnsIn, Persist, Schema, Walker, allocate_beside, expect};
use crate::arena::Writes;
use crate::base::Result;
use crate::section::{Section, free, note_type};
use count::Count;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;

/// An object in a heap with several owners, one word each. The persistent `Arc`: the last owner that is dropped frees the object.
///
/// ```
/// # use strewn::{Heap, PArc, PString};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("arc.heap"))?;
/// let section = heap.enter();
/// let name = PArc::new_in(PString::from_str_in("shared", &section), &section);
/// let again = name.clone();
/// assert!(PArc::ptr_eq(&name, &again));
/// assert_eq!((PArc::strong_count(&name), &**again), (2, "shared"));
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// The count lies with the object. So cloning and dropping write to the object's slot, and it is recorded by the next checkpoint; reading does not.
///
/// It gives out shared references on any thread, so the value must be `Send` and `Sync`: put what is to be changed into a [`PMutex`](crate::PMutex).
///
/// There is no `Weak`, so owners that own each other in a circle are never dropped: [`Heap::leaks`](crate::Heap::leaks) finds them, and
/// [`Heap::collect`](crate::Heap::collect) frees them.
///
/// There is no `PRc` either. Its count would not be atomic, so all owners of an object would have to stay on one thread. But they lie in the heap, and any thread may enter a
/// section and reach them: what lives in a heap must be `Send`, and an `Rc` cannot be.
#[repr(transparent)]
pub struct PArc<'s, T> {
    addr: NonZeroU64,
    _owns: OwnsIn<'s, T>,
}

/// What an owner's address leads to.
#[repr(C)]
struct Counted<T> {
    count: Count,
    value: T,
}

impl<'s, T: Persist + Sync> PArc<'s, T> {
    /// Moves `value` into the heap of `section`.
    ///
    /// # Panics
    /// If the heap is full; see [`PArc::try_new_in`].
    pub fn new_in(value: T, section: &'s Section<'_>) -> Self {
        expect(Self::try_new_in(value, section))
    }

    /// Moves `value` into the heap of `section`.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`; `value` is dropped then.
    pub fn try_new_in(value: T, section: &'s Section<'_>) -> Result<Self> {
        let addr = section.alloc_address(Self::LAYOUT)?;
        // SAFETY: the memory was just allocated for this, in a heap of which 's is a section, and nobody else knows it.
        Ok(unsafe { Self::place(addr, value) })
    }

    /// The value, if this is the only owner; else a copy of it in the same heap, of which this is the only owner from now on.
    ///
    /// # Panics
    /// If the heap is full, or if this thread is not inside a section of it.
    pub fn make_mut(this: &mut Self) -> &mut T
    where
        T: Clone,
    {
        if !Self::count(this).is_one() {
            let value = T::clone(this);
            let addr = expect(allocate_beside(this.addr.get(), Self::LAYOUT));
            // SAFETY: as in `try_new_in`; 's is a section of the heap that the object is in.
            *this = unsafe { Self::place(addr, value) };
        }
        // SAFETY: this is the only owner.
        unsafe { Self::value_mut(this) }
    }
}

impl<T: Persist> PArc<'_, T> {
    /// The value, if this is the only owner.
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        // SAFETY: this is the only owner, and borrowed uniquely, so there will be no other meanwhile.
        Self::count(this).is_one().then(|| unsafe { Self::value_mut(this) })
    }

    /// Moves the value out of the heap and frees its memory, if this is the only owner.
    ///
    /// # Errors
    /// This owner, if there are others.
    pub fn try_unwrap(this: Self) -> Result<T, Self> {
        if !Self::count(&this).is_one() {
            return Err(this);
        }
        let this = ManuallyDrop::new(this);
        // SAFETY: an initialised value, whose only owner is gone.
        let value = unsafe { (&raw const (*this.object()).value).read() };
        free(this.addr.get());
        Ok(value)
    }

    /// # Safety
    /// There is no other owner for as long as what is returned lives.
    unsafe fn value_mut(this: &mut Self) -> &mut T {
        let addr = this.addr.get() + std::mem::offset_of!(Counted<T>, value) as u64;
        // SAFETY: an initialised value within the object; this owner, its only one, is borrowed uniquely.
        unsafe { &mut *write_ptr::<T>(addr, size_of::<T>(), Self::LAYOUT) }
    }

    /// Where the value is read.
    #[inline]
    fn value_ptr(&self) -> *const T {
        let addr = self.addr.get() + std::mem::offset_of!(Counted<T>, value) as u64;
        read_ptr::<T>(addr, Self::LAYOUT)
    }
}

impl<T> PArc<'_, T> {
    const LAYOUT: Layout = Layout::new::<Counted<T>>();

    /// How many owners there are. Others may change it at any time.
    pub fn strong_count(this: &Self) -> usize {
        Self::count(this).get() as usize
    }

    /// Whether two own the same object.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.addr == other.addr
    }

    /// The object's address: the same for as long as it lives, in every process.
    pub fn address(this: &Self) -> u64 {
        this.addr.get()
    }

    /// The first owner of `value`, which is moved to `addr`.
    ///
    /// # Safety
    /// `addr` is not zero and leads to memory for a [`Counted`] that nobody else knows, in a heap of which a section lasts as long as the lifetime of the owner.
    unsafe fn place(addr: u64, value: T) -> Self {
        note_type::<T>(addr);
        // SAFETY: by the contract.
        unsafe {
            own_ptr::<Counted<T>>(addr).write(Counted { count: Count::one(), value });
            Self { addr: NonZeroU64::new_unchecked(addr), _owns: PhantomData }
        }
    }

    /// The object, in its own lane.
    #[inline]
    fn object(&self) -> *mut Counted<T> {
        own_ptr(self.addr.get())
    }

    /// How many owners the object at `addr` counts.
    ///
    /// # Safety
    /// It is an object that `PArc`s own, whatever its type, and nobody changes its count.
    pub(crate) unsafe fn count_at(addr: u64) -> u64 {
        // SAFETY: such an object begins with its count.
        unsafe { own_ptr::<u64>(addr).read() }
    }

    #[inline]
    fn count(this: &Self) -> &Count {
        // SAFETY: the object is there for as long as an owner is; its count is an atomic, which nobody has a unique reference to. It is in the object's own lane, where
        // changes are noticed.
        unsafe { &(*this.object()).count }
    }
}

impl<T> Clone for PArc<'_, T> {
    /// Another owner of the same object.
    ///
    /// # Panics
    /// If there are more than 2^62 owners, most of which were leaked.
    #[inline]
    fn clone(&self) -> Self {
        Self::count(self).add();
        Self { addr: self.addr, _owns: PhantomData }
    }
}

impl<T> Drop for PArc<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if Self::count(self).remove() {
            // SAFETY: the last owner is gone (N1), so the value is dropped here and nowhere else.
            unsafe { (&raw mut (*self.object()).value).drop_in_place() };
            free(self.addr.get());
        }
    }
}

// SAFETY: an address of the heap, which is the same in every process; the object is named to the walker. Its bytes change through shared references, but those of the owner do
// not. Send: the owner gives out shared references only where the value is `Sync`, so that sending it is sending the value.
unsafe impl<T: Persist> Persist for PArc<'_, T> {
    type In<'s> = PArc<'s, T::In<'s>>;
    const INTERIOR: bool = false;
    const WRITES: Writes = Writes::OfHeap;
    fn describe(schema: &mut Schema) -> String {
        format!("PArc<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: an owner is one word, readable by the contract of this function.
        walker.shares::<Counted<T>>(unsafe { this.cast::<u64>().read() })
    }
}

// SAFETY: a count, which is looked at, and a value, which says the rest. The count changes through shared references.
unsafe impl<T: Persist> Persist for Counted<T> {
    type In<'s> = Counted<T::In<'s>>;
    const INTERIOR: bool = true;
    fn describe(schema: &mut Schema) -> String {
        format!("Counted<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the count is the first word, readable by the contract of this function.
        let count = unsafe { this.cast::<u64>().read() };
        if count == 0 || count > count::MOST {
            return Err(walker.invalid::<Self>(format_args!("a count of {count}")));
        }
        // SAFETY: the value lies within, and what holds for the whole holds for it.
        unsafe { T::walk(&raw mut (*this).value, walker) }
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
