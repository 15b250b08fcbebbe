//! [`Section`]: a stretch of a thread's work that no cut splits; and memory by hand inside it.

use crate::base::Result;
use crate::checkpoint::Member;
use crate::engine::Engine;
use crate::sys;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A stretch of a thread's work that no cut splits. Ends when it is dropped. A leaked section blocks every later checkpoint.
pub struct Section<'h> {
    engine: &'h Engine,
    member: &'h Member,
    /// A section belongs to the thread that entered it.
    _not_send: PhantomData<*mut ()>,
}

impl<'h> Section<'h> {
    #[inline]
    pub(crate) fn new(engine: &'h Engine) -> Self {
        Self { engine, member: engine.threads.enter(), _not_send: PhantomData }
    }

    #[inline]
    pub(crate) fn engine(&self) -> &'h Engine {
        self.engine
    }

    /// Allocates memory in the heap. Its bytes are arbitrary, and it is part of the checkpoints from now on, until it is freed.
    ///
    /// # Errors
    /// `HeapFull` if the heap's address space has no room, for example for more than 512 GiB at once; `OutOfMemory`.
    #[inline]
    pub fn alloc(&self, layout: Layout) -> Result<NonNull<u8>> {
        let addr = self.alloc_address(layout)?;
        Ok(NonNull::new(sys::ptr(addr)).expect("no zone holds the null page"))
    }

    /// Frees memory of this heap, allocated by whichever thread.
    ///
    /// # Panics
    /// If `object` is not in this heap.
    ///
    /// # Safety
    /// `object` came from [`Section::alloc`] of this heap, in this process or an earlier one, was not freed since, and nothing refers to it.
    #[inline]
    pub unsafe fn dealloc(&self, object: NonNull<u8>) {
        self.free_address(self.engine.allocator.address_of(object.as_ptr()));
    }

    /// How many bytes may be used at `object`: at least what was asked for. `None` if no object of this heap can start there; that the object is
    /// allocated is the caller's knowledge.
    pub fn usable_bytes(&self, object: NonNull<u8>) -> Option<usize> {
        self.engine.allocator.usable_bytes(self.engine.allocator.address_of(object.as_ptr()))
    }

    /// Whether `object` lies in this heap.
    #[inline]
    pub fn owns(&self, object: NonNull<u8>) -> bool {
        self.owns_address(self.engine.allocator.address_of(object.as_ptr()))
    }

    #[inline]
    pub(crate) fn owns_address(&self, addr: u64) -> bool {
        self.engine.allocator.owns(addr)
    }

    #[inline]
    pub(crate) fn alloc_address(&self, layout: Layout) -> Result<u64> {
        // SAFETY: this thread owns the member (a section is not Send) and is inside a section; the reference ends with the call, which does not come back here.
        self.engine.allocator.alloc(unsafe { self.member.cache() }, layout)
    }

    #[inline]
    pub(crate) fn free_address(&self, addr: u64) {
        // SAFETY: as in `alloc_address`.
        self.engine.allocator.free(unsafe { self.member.cache() }, addr);
    }
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        self.engine.threads.leave(self.member);
    }
}
