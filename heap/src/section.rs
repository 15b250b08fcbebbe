//! [`Section`]: a stretch of a thread's work that no cut splits; and memory by hand inside it.
//!
//! - I1. `INSIDE` of a thread with a depth above 0 names the engine and the member of its sections, which live as long as one of these does.
//! - I2. All sections that a thread is inside are of one heap. So what a thread allocates without saying where belongs to that heap, and nothing that one heap
//!   owns can be moved into another: values of a heap live no longer than the section in which they are seen.
//!   (But for one hole: a scoped thread that leaks the section it entered of another heap can give that section the lifetime of the first; see `docs/pitfalls.md`.)

use crate::base::{Error, ErrorKind, Result};
use crate::checkpoint::Member;
use crate::engine::{Engine, owner_of};
use crate::sys;
use std::alloc::Layout;
use std::cell::Cell;
use std::collections::HashSet;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Where a thread is.
#[derive(Clone, Copy)]
struct Inside {
    engine: *const Engine,
    member: *const Member,
    depth: u64,
}

// Of std, in models too: no model looks at it. Without a destructor, so that it can be used as long as the thread runs.
thread_local!(static INSIDE: Cell<Inside> =
    const { Cell::new(Inside { engine: std::ptr::null(), member: std::ptr::null(), depth: 0 }) });

/// A stretch of a thread's work that no cut splits. Ends when it is dropped. A leaked section blocks every later checkpoint.
pub struct Section<'h> {
    engine: &'h Engine,
    member: &'h Member,
    /// Whether the thread was unwinding when it entered: then its end tells nothing.
    entered_panicking: bool,
    /// A section belongs to the thread that entered it.
    _not_send: PhantomData<*mut ()>,
}

impl<'h> Section<'h> {
    /// # Errors
    /// `InSection` inside a section of another heap (I2).
    #[inline]
    pub(crate) fn new(engine: &'h Engine) -> Result<Self> {
        let inside = INSIDE.get();
        if inside.depth > 0 && !std::ptr::eq(inside.engine, engine) {
            return Err(other_heap(engine));
        }
        let member = engine.threads.enter();
        INSIDE.set(Inside { engine, member, depth: inside.depth + 1 });
        Ok(Self { engine, member, entered_panicking: std::thread::panicking(), _not_send: PhantomData })
    }

    #[inline]
    pub(crate) fn engine(&self) -> &'h Engine {
        self.engine
    }

    /// Allocates memory in the heap. Its bytes are arbitrary, and it is part of the checkpoints from now on, until it is freed.
    ///
    /// Nothing finds it by itself: it counts as a leak in [`Heap::leaks`](crate::Heap::leaks), and [`Heap::collect`](crate::Heap::collect) frees it, unless a type that
    /// implements [`Persist`](crate::Persist) by hand names it. So the memory is there until it is freed or collected, whichever is first; the pointer alone keeps nothing.
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
        let addr = self.engine.allocator.alloc(unsafe { self.member.cache() }, layout)?;
        self.engine.forget_type(addr);
        Ok(addr)
    }

    /// The slots that lie in this thread's cache: taken from their zones, and not allocated.
    pub(crate) fn cached(&self) -> HashSet<u64> {
        // SAFETY: as in `alloc_address`.
        unsafe { self.member.cache() }.slots().collect()
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
        if !self.entered_panicking && std::thread::panicking() {
            self.engine.note_panic();
        }
        let inside = INSIDE.get();
        INSIDE.set(Inside { depth: inside.depth - 1, ..inside });
        self.engine.threads.leave(self.member);
    }
}

/// The section of some heap that this thread is inside, for those who were not given it.
pub(crate) struct Here<'a> {
    engine: &'a Engine,
    member: &'a Member,
}

/// Calls `work` with the heap of this thread's section.
///
/// # Errors
/// `NotInSection`; what `work` returns.
pub(crate) fn here<R>(work: impl FnOnce(Here<'_>) -> Result<R>) -> Result<R> {
    let inside = INSIDE.get();
    if inside.depth == 0 {
        let what = "this thread is inside no section: what a heap's values allocate, they allocate in the heap of the section that the thread is inside";
        return Err(Error::new(ErrorKind::NotInSection, what));
    }
    // SAFETY: both outlive the section (I1), which cannot end before `work` does: it is on this thread, and `work` does not have it.
    work(unsafe { Here { engine: &*inside.engine, member: &*inside.member } })
}

impl Here<'_> {
    pub(crate) fn engine(&self) -> &Engine {
        self.engine
    }

    /// Allocates memory for `layout`.
    pub(crate) fn alloc(&self, layout: Layout) -> Result<u64> {
        // SAFETY: this thread owns the member and is inside a section; the reference ends with the call, which does not come back here.
        let addr = self.engine.allocator.alloc(unsafe { self.member.cache() }, layout)?;
        self.engine.forget_type(addr);
        Ok(addr)
    }
}

/// The object at `addr`, in the heap of this thread's section, holds a `T`: noted, if types are.
#[inline]
pub(crate) fn note_type<T: ?Sized>(addr: u64) {
    let inside = INSIDE.get();
    // SAFETY: as in `here`.
    if inside.depth > 0 && unsafe { (*inside.engine).types.is_some() } {
        // SAFETY: same.
        unsafe { &*inside.engine }.note_type::<T>(addr);
    }
}

/// Frees the object at `addr`, of whichever open heap.
///
/// The caller's value cannot outlive a section of that heap, so no cut is on: even if that section is another thread's.
#[inline]
pub(crate) fn free(addr: u64) {
    let inside = INSIDE.get();
    if inside.depth > 0 {
        // SAFETY: as in `here`.
        let (engine, member) = unsafe { (&*inside.engine, &*inside.member) };
        if engine.allocator.owns(addr) {
            // SAFETY: as in `Here::alloc`.
            engine.allocator.free(unsafe { member.cache() }, addr);
            return;
        }
    }
    free_elsewhere(addr);
}

/// [`free`], for those who have a pointer to the object.
pub(crate) fn free_pointer(object: NonNull<u8>) {
    let mine = here(|here| {
        let addr = here.engine.allocator.address_of(object.as_ptr());
        Ok(here.engine.allocator.owns(addr).then_some(addr))
    });
    free(mine.ok().flatten().unwrap_or_else(|| address_elsewhere(object)));
}

/// The address of an object of whichever open heap. All heaps agree, where addresses are pointers.
#[cold]
fn address_elsewhere(object: NonNull<u8>) -> u64 {
    crate::engine::address_of(object.as_ptr())
}

#[cold]
fn free_elsewhere(addr: u64) {
    // A heap that is open no more keeps what it had at its last checkpoint.
    let Some(engine) = owner_of(addr) else { return };
    let mut cache = crate::alloc::Cache::new();
    engine.allocator.free(&mut cache, addr);
    engine.allocator.give_back_all(&mut cache);
}

#[cold]
fn other_heap(wanted: &Engine) -> Error {
    let what = format!(
        "{}: this thread is inside a section of another heap; a thread can be inside sections of one heap at a time",
        wanted.path().display()
    );
    Error::new(ErrorKind::InSection, what)
}
