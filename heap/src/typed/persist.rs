//! [`Persist`]: what may live in a heap.

use super::{Predecessor, Schema, Walker};
use crate::arena::Writes;
use crate::base::Result;

/// A type whose values may live in a heap and be read again by a later process. Derive it:
///
/// ```
/// use strewn::{PBox, PString, PVec, Persist};
///
/// #[derive(Persist)]
/// struct Word<'s> {
///     text: PString<'s>,
///     files: PVec<'s, u32>,
///     next: Option<PBox<'s, Word<'s>>>,
/// }
/// ```
///
/// `'s` is the section in which a value is seen. It keeps what the heap owns from outliving the section, and so from being changed by anyone behind a checkpoint's
/// back. A type without pointers into the heap needs none.
///
/// What cannot be derived is refused by the compiler, with what to use instead: references, `Box`, `Vec`, `String`, `Rc` and `Arc` of the global allocator, function
/// pointers, trait objects, raw pointers, handles of the operating system, locks of the standard library. An enum needs a `#[repr(u8)]` or another integer.
///
/// | attribute | on | says |
/// | --- | --- | --- |
/// | `#[persist(name = "Word")]` | the type | its name in the heap, instead of its name in the program |
/// | `#[persist(version = 2)]` | the type | which version of the type this is, 1 if it is not said |
/// | `#[persist(from = OldWord<'s>)]` | the type | what it was before: see [`Migrate`](crate::Migrate) |
/// | `#[persist(writes = "barrier")]` | the type | how writes to it are caught: see [`Writes`] |
/// | `#[persist(rebuild)]`, `#[persist(rebuild = function)]` | a field | it is no part of checkpoints; each time that the heap is opened it is made anew by `Default` or the function |
///
/// # Safety
/// - A value holds no pointer or reference to memory outside the heap, directly or not, but in fields that are made anew ([`Walker::rebuild`]).
/// - `In<'s>` is the same type but for the lifetime, with the same layout.
/// - `INTERIOR` is true if a value can be changed through a shared reference, without following a pointer.
/// - `describe` tells the layout of all bytes that have a meaning: two types of equal description read each other's bytes.
/// - `walk` names each object that the value owns, and refuses bytes that are not valid. It makes no reference to bytes that it has not looked at.
/// - Nothing goes wrong if a value is never dropped: heaps do not run destructors when they are closed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot live in a persistent heap",
    label = "this is not `Persist`",
    note = "derive it with `#[derive(strewn::Persist)]` if the type is yours",
    note = "instead of Box, Vec, String, HashMap, BTreeMap, Rc and Arc use PBox, PVec, PString, PHashMap, PBTreeMap and PArc",
    note = "instead of Mutex, RwLock, Cell and RefCell use PMutex, PRwLock and PCell",
    note = "what a later process cannot use (files, threads, references, function pointers) can be a field with `#[persist(rebuild)]`"
)]
pub unsafe trait Persist: Send + Sized {
    /// The same type, seen in a section of lifetime `'s`. Seen in another section from there, it is what it would be from here: so what is asked of `In<'x>` for all
    /// `'x`, as maps ask it of their keys, is known of each of them.
    type In<'s>: for<'x> Persist<In<'x> = Self::In<'x>>;

    /// Whether a value can be changed through a shared reference. Such values are read through their own lane, where that is noticed.
    const INTERIOR: bool;

    /// How writes through `&mut` are caught.
    const WRITES: Writes = Writes::OfHeap;

    /// Whether all bytes are valid and own nothing, so that a walk need not look at them.
    #[doc(hidden)]
    const ANY_BYTES: bool = false;

    /// Adds the type to `schema`, and returns its name there.
    fn describe(schema: &mut Schema) -> String;

    /// Tells `walker` which objects the value at `this` owns, and refuses bytes that no value of the type has.
    ///
    /// # Errors
    /// `Corrupt`, for such bytes; what the walker returns.
    ///
    /// # Safety
    /// `this` is aligned, and its bytes can be read and written; nobody else does meanwhile.
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()>;

    /// What the type was before: what `#[persist(from = Old)]` says.
    fn predecessor() -> Option<Predecessor> {
        None
    }
}
