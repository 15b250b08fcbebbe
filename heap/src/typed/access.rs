//! Where an object is read and written: the rules of the two lanes.
//!
//! - Shared references lead through the dense lane, where reading is as fast as in a `Box`, unless the type can be changed through them: then through the object's own lane,
//!   where writing is noticed.
//! - Unique references lead through the object's own lane, or, with a write barrier, through the dense lane after the object was marked.
//! - The two never coexist, though they are different addresses: both borrow the owner.

use super::Persist;
use crate::alloc::{Class, SLOT_BYTES_MAX};
use crate::arena::dense_address;
use crate::arena::write_address;
use crate::sys;
use std::alloc::Layout;

/// Whether an object of `layout` lies in a slot, and so has a twin in the dense lane.
#[inline]
pub const fn in_slot(layout: Layout) -> bool {
    layout.size() <= SLOT_BYTES_MAX && Class::of(layout).is_some()
}

/// The pointer to read values of `T` through, at the start of an object of `layout`.
#[inline]
pub fn read_ptr<T: Persist>(addr: u64, layout: Layout) -> *const T {
    sys::ptr(if !T::INTERIOR && in_slot(layout) { dense_address(addr) } else { addr }).cast()
}

/// The pointer to read what a collection notes about its values through, at the start of an object of `layout`: nobody changes that through a shared reference.
#[inline]
pub fn notes_ptr<T>(addr: u64, layout: Layout) -> *const T {
    sys::ptr(if in_slot(layout) { dense_address(addr) } else { addr }).cast()
}

/// The pointer to change `bytes` bytes of values of `T` through, at `addr`, within an object of `layout`.
///
/// # Safety
/// There is such an object, in an open heap of which this thread is inside a section, and the pointer is used in that section only.
#[inline]
pub unsafe fn write_ptr<T: Persist>(addr: u64, bytes: usize, layout: Layout) -> *mut T {
    // SAFETY: the contract of this function; such an object lies in a slot.
    let at = if in_slot(layout) { unsafe { write_address(addr, bytes, T::WRITES) } } else { addr };
    sys::ptr(at).cast()
}

/// The pointer to a value that is being made or given up: at its own address, without a mark. What is new is recorded anyway.
#[inline]
pub fn own_ptr<T>(addr: u64) -> *mut T {
    sys::ptr(addr).cast()
}
