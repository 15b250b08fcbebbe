//! Typed access: [`Persist`] says what may live in a heap, [`PBox`], [`PVec`] and the other collections own objects there, [`Root`] finds them again.
//!
//! - Y1. A value that owns an object of a heap has the lifetime of a section of that heap. So no cut is on while one is held outside the heap, and what is dropped can be freed
//!   at once; and as a thread is inside sections of one heap at a time (I2 in `section.rs`), a value never gets into another heap.
//! - Y2. A value that owns nothing yet knows its heap by its tag ([`Engine::tag`](crate::engine::Engine::tag)), so that another thread, inside a section of another heap,
//!   cannot make it own something there.
//! - Y3. That lifetime is invariant ([`OwnsIn`]): a value cannot be taken for one of a shorter section, such as one that another thread is inside, of another heap.
//! - Y4. Where an object is read and written: `access.rs`.

mod access;
pub mod btree;
pub mod hash_map;
pub mod hash_set;
mod heap_alloc;
mod lock;
mod parc;
mod pbox;
mod pcell;
mod persist;
mod plain;
mod predecessor;
mod pstring;
mod pvec;
mod root;
mod schema;
#[cfg(feature = "serde")]
pub mod serde;
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) mod tests;
mod walk;
mod walked;

pub use btree::{PBTreeMap, PBTreeSet};
pub use hash_map::{PBuildHasher, PHashMap, Seeds};
pub use hash_set::PHashSet;
pub use heap_alloc::HeapAlloc;
pub use lock::{PMutex, PMutexGuard, PRwLock, PRwLockReadGuard, PRwLockWriteGuard};
pub use parc::PArc;
pub use pbox::PBox;
pub use pcell::PCell;
pub use persist::Persist;
pub use predecessor::{Migrate, Predecessor};
pub use pstring::PString;
pub use pvec::{CollectIn, FromIteratorIn, PVec};
pub use root::{Root, RootMut, RootRef};
pub use schema::{Fields, Schema, fingerprint, first_difference};
pub use walk::{Held, Purpose, Reached, Walker};
pub use walked::Walked;

use crate::base::{Error, ErrorKind, Result};
use crate::engine::is_only_one_open;
use crate::section::here;
use std::alloc::Layout;
use std::marker::PhantomData;

/// What a value is for the compiler that owns a `T` in a heap, seen in a section: Y3.
pub(crate) type OwnsIn<'s, T> = PhantomData<(T, fn(&'s ()) -> &'s ())>;

/// Allocates in the heap that `tag` is of, which this thread must be inside a section of. What the first version made has a tag of 0: that is of the heap that is open, if
/// there is only one.
fn allocate_in(tag: u64, layout: Layout) -> Result<u64> {
    here(|here| {
        let is_its = tag == here.engine().tag() || tag == 0 && is_only_one_open();
        if is_its { here.alloc(layout) } else { Err(not_here()) }
    })
}

/// Allocates in the heap that the object at `addr` is in, which this thread must be inside a section of.
fn allocate_beside(addr: u64, layout: Layout) -> Result<u64> {
    here(|here| if here.engine().allocator.owns(addr) { here.alloc(layout) } else { Err(not_here()) })
}

#[cold]
fn not_here() -> Error {
    let what = "this thread is inside a section of another heap than the one whose value is to grow";
    Error::new(ErrorKind::NotInSection, what)
}

/// For methods that have the signatures of std, and no way to return an error.
#[track_caller]
fn expect<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(e) => panic!("{e}"),
    }
}
