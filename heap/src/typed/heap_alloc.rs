//! [`HeapAlloc`]: a heap as an allocator for collections that are not strewn's. It holds no pointer, only the tag of the heap (Y2), so that a copy of it may lie inside what
//! it allocates.

use super::OwnsIn;
use super::allocate_in;
use crate::base::Error;
use crate::section::{Section, free_pointer};
use crate::sys;
use allocator_api2::alloc::{AllocError, Allocator};
use std::alloc::Layout;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A heap as an allocator, for collections that take one: `hashbrown::HashMap`, `allocator_api2::vec::Vec` and others. It implements `Allocator` of the crate
/// `allocator-api2` 0.2, the version that `hashbrown` 0.17 takes.
///
/// ```
/// # use strewn::{Heap, HeapAlloc};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("alloc.heap"))?;
/// let section = heap.enter();
/// let mut squares = allocator_api2::vec::Vec::new_in(HeapAlloc::of(&section));
/// squares.extend((0..100u64).map(|n| n * n));
/// assert_eq!(squares[99], 9801);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// What it allocates lies in the heap, but neither it nor a collection that uses it is [`Persist`](crate::Persist): such a collection lives no longer than the section, and
/// cannot be part of what is found again. Collections of others may hold pointers into the program (an empty `hashbrown` table points to a static), have a layout that
/// changes with their version, and cannot be checked. For what is to be found again there are [`PHashMap`](crate::PHashMap), [`PVec`](crate::PVec) and the others.
///
/// ```compile_fail,E0277
/// # use strewn::{Heap, HeapAlloc};
/// # let heap = Heap::open("words.heap").unwrap();
/// type Numbers<'s> = allocator_api2::vec::Vec<u64, HeapAlloc<'s>>;
/// let root = heap.root::<Numbers>("numbers", |section| Ok(Numbers::new_in(HeapAlloc::of(section))));
/// ```
///
/// It allocates for a thread that is inside a section of the heap, and refuses (`AllocError`) any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapAlloc<'s> {
    heap: Tagged,
    _seen_in: OwnsIn<'s, ()>,
}

impl<'s> HeapAlloc<'s> {
    /// The heap of `section`.
    pub fn of(section: &'s Section<'_>) -> Self {
        Self { heap: Tagged { tag: section.engine().tag() }, _seen_in: PhantomData }
    }
}

// SAFETY: that of `Tagged`. The lifetime keeps what is allocated from being used after the section, when the heap may be closed.
unsafe impl Allocator for HeapAlloc<'_> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.heap.allocate(layout)
    }

    unsafe fn deallocate(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { self.heap.deallocate(object, layout) };
    }
}

thread_local!(static REFUSAL: RefCell<Option<Error>> = const { RefCell::new(None) });

/// Why an allocation of this thread was refused the last time, unless someone has asked since.
pub(super) fn take_refusal() -> Option<Error> {
    REFUSAL.try_with(|refusal| refusal.borrow_mut().take()).ok().flatten()
}

/// The heap with this tag, as an allocator. For collections that have the lifetime of a section themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Tagged {
    /// Of the heap (Y2).
    pub tag: u64,
}

// SAFETY: objects of a heap stay where they are until they are freed, as long as the heap is open: so longer than anything that has the lifetime of a section. A copy
// allocates and frees as the original does: all it knows is the tag.
unsafe impl Allocator for Tagged {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            let nowhere = NonNull::new(std::ptr::without_provenance_mut(layout.align()));
            return Ok(NonNull::slice_from_raw_parts(nowhere.expect("alignments are not zero"), 0));
        }
        match allocate_in(self.tag, layout) {
            Ok(addr) => {
                let object = NonNull::new(sys::ptr(addr)).expect("no zone holds the null page");
                Ok(NonNull::slice_from_raw_parts(object, layout.size()))
            }
            Err(e) => {
                // Without the note where a thread is about to end: then the reason is lost, not the refusal.
                let _ = REFUSAL.try_with(|refusal| *refusal.borrow_mut() = Some(e));
                Err(AllocError)
            }
        }
    }

    unsafe fn deallocate(&self, object: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            free_pointer(object);
        }
    }
}
