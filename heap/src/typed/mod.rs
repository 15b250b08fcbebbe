//! Typed access: [`Persist`] says what may live in a heap, [`PBox`] and [`PVec`] own objects there, [`Root`] finds them again.
//!
//! Shared references point into the dense lane, where reading is as fast as in a `Box`; unique references point into the object's
//! own lane, where writing is caught, or into the dense lane after the object was marked. The borrow checker sees to it that the two never coexist: both borrow the owner.

mod pbox;
mod persist;
mod pvec;
mod root;
#[cfg(test)]
mod tests;

pub use pbox::PBox;
pub use persist::Persist;
pub use pvec::PVec;
pub use root::{Root, RootMut, RootRef};

use crate::alloc::{Class, SLOT_BYTES_MAX};
use crate::arena::{Writes, dense_address, write_address};
use crate::sys;
use std::alloc::Layout;

/// The pointer to read an object of `layout` at `addr` through.
#[inline]
fn read_ptr<T>(addr: u64, layout: Layout) -> *const T {
    let in_slot = layout.size() <= SLOT_BYTES_MAX && Class::of(layout).is_some();
    sys::ptr(if in_slot { dense_address(addr) } else { addr }).cast()
}

/// The pointer to write an object at `addr` through, until the section ends.
#[inline]
fn write_ptr<T>(addr: u64) -> *mut T {
    sys::ptr(write_address(addr, size_of::<T>(), Writes::OfHeap)).cast()
}
