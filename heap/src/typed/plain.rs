//! [`Persist`] for types of the standard library that hold no pointer.

use super::{Persist, Schema, Walker};
use crate::base::Result;
use std::marker::PhantomData;
use std::num::*;
use std::sync::atomic::*;
use std::time::Duration;

/// Types without a lifetime, of which all bytes are valid.
macro_rules! any_bytes {
    ($interior:literal: $($t:ty)*) => {
        $(
            // SAFETY: no pointer, all bytes are valid, and the name says the layout; atomics, which alone can be changed through a shared reference, say so.
            unsafe impl Persist for $t {
                type In<'s> = Self;
                const INTERIOR: bool = $interior;
                const ANY_BYTES: bool = true;
                fn describe(_: &mut Schema) -> String {
                    stringify!($t).to_owned()
                }
                unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
                    Ok(())
                }
            }
        )*
    };
}

any_bytes!(false: u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
any_bytes!(true: AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize);

/// Types without a lifetime, of which `$valid` says whether the bytes, read as `$raw`, are valid.
macro_rules! some_bytes {
    ($interior:literal: $($t:ty, $raw:ty, $valid:expr;)*) => {
        $(
            // SAFETY: no pointer; `walk` looks at the bytes as a type of the same size and alignment, of which all bytes are valid.
            unsafe impl Persist for $t {
                type In<'s> = Self;
                const INTERIOR: bool = $interior;
                fn describe(_: &mut Schema) -> String {
                    stringify!($t).to_owned()
                }
                unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
                    const { assert!(size_of::<$t>() == size_of::<$raw>() && align_of::<$t>() == align_of::<$raw>()) };
                    // SAFETY: readable and aligned by the contract of this function.
                    let raw = unsafe { this.cast::<$raw>().read() };
                    let valid: fn($raw) -> bool = $valid;
                    if valid(raw) { Ok(()) } else { Err(walker.invalid::<Self>(format_args!("{raw:#x}"))) }
                }
            }
        )*
    };
}

some_bytes! { false:
    bool, u8, |raw| raw <= 1;
    char, u32, |raw| char::from_u32(raw).is_some();
    NonZeroU8, u8, |raw| raw != 0;
    NonZeroU16, u16, |raw| raw != 0;
    NonZeroU32, u32, |raw| raw != 0;
    NonZeroU64, u64, |raw| raw != 0;
    NonZeroU128, u128, |raw| raw != 0;
    NonZeroUsize, usize, |raw| raw != 0;
    NonZeroI8, u8, |raw| raw != 0;
    NonZeroI16, u16, |raw| raw != 0;
    NonZeroI32, u32, |raw| raw != 0;
    NonZeroI64, u64, |raw| raw != 0;
    NonZeroI128, u128, |raw| raw != 0;
    NonZeroIsize, usize, |raw| raw != 0;
}
some_bytes! { true: AtomicBool, u8, |raw| raw <= 1; }

// SAFETY: seconds, and nanoseconds below a second, in an order that the compiler chooses: so the bytes are written as the compiler of the program has them, and what is
// described is what it chose.
unsafe impl Persist for Duration {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        format!("Duration/{}", duration_seconds_at())
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: readable by the contract; a Duration is 16 bytes, of which 12 are looked at.
        let nanos = unsafe { this.cast::<u8>().add(8 - duration_seconds_at()).cast::<u32>().read() };
        if nanos < 1_000_000_000 { Ok(()) } else { Err(walker.invalid::<Self>(format_args!("{nanos} nanoseconds"))) }
    }
}

/// Where the seconds of a duration are: 0 or 8.
fn duration_seconds_at() -> usize {
    const { assert!(size_of::<Duration>() == 16 && align_of::<Duration>() == 8) };
    let probe = Duration::from_secs(0x5EC5_0000_5EC5_0000);
    // SAFETY: both words have initialised bytes: one is the seconds; of the other the first four bytes are the nanoseconds, and only these are read.
    let first = unsafe { (&raw const probe).cast::<u32>().read() };
    if first == 0x5EC5_0000 { 0 } else { 8 }
}

// SAFETY: no bytes at all.
unsafe impl Persist for () {
    type In<'s> = ();
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        "()".to_owned()
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: no bytes at all. What it stands for says nothing about memory.
unsafe impl<T: Persist> Persist for PhantomData<T> {
    type In<'s> = PhantomData<T::In<'s>>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        format!("PhantomData<{}>", T::describe(schema))
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: an array is as good as its elements.
unsafe impl<T: Persist, const N: usize> Persist for [T; N] {
    type In<'s> = [T::In<'s>; N];
    const INTERIOR: bool = T::INTERIOR;
    const ANY_BYTES: bool = T::ANY_BYTES;
    fn describe(schema: &mut Schema) -> String {
        format!("[{};{N}]", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: each element lies within the array, which is as the contract says.
        (0..N).try_for_each(|i| unsafe { T::walk(this.cast::<T>().add(i), walker) })
    }
}

// SAFETY: an option adds a tag to its value, or takes a value that its value cannot have: zero for `PBox` and the like, which the standard library guarantees for a
// transparent non-zero integer. For other types the layout is the compiler's, of which the description holds the size.
unsafe impl<T: Persist> Persist for Option<T> {
    type In<'s> = Option<T::In<'s>>;
    const INTERIOR: bool = T::INTERIOR;
    fn describe(schema: &mut Schema) -> String {
        format!("Option<{}>/{}", T::describe(schema), size_of::<Self>())
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: readable by the contract of this function.
        unsafe { check_tag(this, walker)? };
        // SAFETY: readable by the contract. A tag was just found good. Without one, the compiler's own code looks: a value of the niche is either none, or goes on to the walk of
        // the value, which refuses what is not valid.
        match unsafe { &mut *this } {
            // SAFETY: within the option.
            Some(value) => unsafe { T::walk(value, walker) },
            None => Ok(()),
        }
    }
}

/// Refuses an option whose tag is neither none's nor some's. An option of a value that has no niche begins with a tag, of the size of the value's alignment as far as there are
/// such integers (a test of this module asks the compiler).
///
/// # Safety
/// The option's bytes can be read.
unsafe fn check_tag<T: Persist>(this: *mut Option<T>, walker: &Walker<'_>) -> Result<()> {
    if size_of::<Option<T>>() == size_of::<T>() {
        return Ok(());
    }
    // SAFETY: the tag comes first, and is initialised whatever follows it.
    let tag = unsafe {
        match align_of::<T>() {
            2 => u128::from(this.cast::<u16>().read()),
            4 => u128::from(this.cast::<u32>().read()),
            8 => u128::from(this.cast::<u64>().read()),
            16 => this.cast::<u128>().read(),
            _ => u128::from(this.cast::<u8>().read()),
        }
    };
    if tag <= 1 { Ok(()) } else { Err(walker.invalid::<Option<T>>(format_args!("a tag of {tag:#x}"))) }
}

/// Tuples: the order of fields is the compiler's, and described.
macro_rules! tuple {
    ($($t:ident $i:tt),+) => {
        // SAFETY: a tuple is as good as its fields, whose offsets are described.
        unsafe impl<$($t: Persist),+> Persist for ($($t,)+) {
            type In<'s> = ($($t::In<'s>,)+);
            const INTERIOR: bool = $($t::INTERIOR)||+;
            const ANY_BYTES: bool = $($t::ANY_BYTES)&&+;
            fn describe(schema: &mut Schema) -> String {
                let fields = [$(format!("{}@{}", $t::describe(schema), std::mem::offset_of!(Self, $i))),+];
                format!("({})/{}", fields.join(","), size_of::<Self>())
            }
            unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
                // SAFETY: each field lies within the tuple, which is as the contract says.
                $(unsafe { $t::walk(&raw mut (*this).$i, walker)?; })+
                Ok(())
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    /// The tags of some and none, as `check_tag` reads them.
    fn tag_bytes<T: Copy>(value: T) -> (usize, usize) {
        assert!(size_of::<Option<T>>() > size_of::<T>());
        let (some, none) = (Some(value), None::<T>);
        let width = if align_of::<T>() <= 16 { align_of::<T>() } else { 1 };
        let bytes = |option: &Option<T>| -> Vec<u8> {
            // SAFETY: the tag is initialised; that it is this large is what the test asks, and Miri would tell.
            (0..width).map(|i| unsafe { std::ptr::from_ref(option).cast::<u8>().add(i).read() }).collect()
        };
        let number = |bytes: Vec<u8>| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
        (number(bytes(&some)), number(bytes(&none)))
    }

    #[derive(Clone, Copy)]
    #[repr(align(32))]
    struct Wide {
        _bytes: [u8; 32],
    }

    #[test]
    fn options_begin_with_a_tag_as_large_as_the_alignment() {
        let garbage = u64::MAX;
        assert_eq!(tag_bytes(garbage), (1, 0));
        assert_eq!(tag_bytes(u128::MAX), (1, 0));
        assert_eq!(tag_bytes(u32::MAX), (1, 0));
        assert_eq!(tag_bytes(u16::MAX), (1, 0));
        assert_eq!(tag_bytes(u8::MAX), (1, 0));
        assert_eq!(tag_bytes((u64::MAX, u8::MAX)), (1, 0));
        assert_eq!(tag_bytes([u16::MAX; 5]), (1, 0));
        assert_eq!(tag_bytes((f64::MAX, [u32::MAX; 3])), (1, 0));
        assert_eq!(tag_bytes(()), (1, 0));
        assert_eq!(tag_bytes(Wide { _bytes: [255; 32] }), (1, 0));
    }
}
