//! [`Persist`]: what may live in a heap.

use super::{PBox, PVec};

/// A type whose values may live in a heap and be read again by a later process.
///
/// There is no derive yet; implement it by hand:
///
/// ```
/// # use strewn::{PVec, Persist};
/// #[repr(C)]
/// struct Word {
///     text: PVec<u8>,
///     count: u64,
/// }
/// // SAFETY: every field is Persist.
/// unsafe impl Persist for Word {}
/// ```
///
/// # Safety
/// - A value holds no pointer or reference to memory outside the heap, directly or not: no `&T`, `Box`, `String`, `Rc`, `fn`, trait object, raw pointer, nor a
///   handle of the operating system. Those of the heap itself ([`PBox`], [`PVec`]) may be held.
/// - A value has no interior mutability (`Cell`, atomics, `Mutex`): shared references lead through the dense lane, where writes are not caught.
/// - The layout is the same in every program that opens the heap: primitive types, arrays of them, or a `#[repr(C)]` type of such. (A `repr(Rust)` type is as
///   good only as long as the compiler and the type stay the same.)
/// - A [`PBox`] or [`PVec`] is stored in the heap that it belongs to. Nothing checks that yet; one that is stored in another heap dangles as soon as the two are
///   opened as of different checkpoints.
/// - Nothing goes wrong if a value is never dropped: heaps do not run destructors.
pub unsafe trait Persist: Send + Sync + 'static {}

macro_rules! plain {
    ($($t:ty)*) => {
        $(
            // SAFETY: a primitive type: no pointer, no interior mutability, one layout, no destructor.
            unsafe impl Persist for $t {}
        )*
    };
}

plain!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char);

// SAFETY: no bytes at all.
unsafe impl Persist for () {}

// SAFETY: an array is as good as its elements.
unsafe impl<T: Persist, const N: usize> Persist for [T; N] {}
// SAFETY: an option adds a tag to its value. For `PBox` the tag is the zero address, which the standard library guarantees for a transparent non-zero integer.
// For other types the layout is rustc's, which is the same as long as the compiler is; the contract above says so of `repr(Rust)` types.
unsafe impl<T: Persist> Persist for Option<T> {}
// SAFETY: a box holds an address of the heap, which is the same in every process.
unsafe impl<T: Persist> Persist for PBox<T> {}
// SAFETY: a vector holds an address of the heap and two numbers.
unsafe impl<T: Persist> Persist for PVec<T> {}
