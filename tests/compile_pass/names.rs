//! Nothing of the user's is in the way of the macro, and the macro is in nobody's way.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, rust_2018_idioms, single_use_lifetimes, unreachable_pub)]

/// No `use`, and the names of what the macro uses are taken.
pub mod taken {
    #![allow(dead_code)]

    struct Ok;
    struct Result;
    enum Option {}
    struct Section;
    fn fields() {}

    /// A `Vec` that is no vector.
    #[derive(strewn::Persist)]
    pub struct Vec(u8);

    /// Fields with the names of locals.
    #[derive(strewn::Persist)]
    pub struct String {
        walker: Vec,
        this: u8,
        schema: u8,
        fields: u8,
        value: u8,
        r#type: self::Vec,
    }

    /// A raw name, the lifetime that the macro would have taken, and `Self` in a field.
    #[derive(strewn::Persist)]
    #[repr(i8)]
    pub enum Enum<'section, T, const N: usize, const LETTER: char> {
        /// A value that is written out.
        Section = -7,
        /// Fields with names.
        Node {
            /// Its kind.
            r#type: [T; N],
            /// The next one.
            next: core::option::Option<strewn::PBox<'section, Self>>,
        },
        /// A raw name.
        #[allow(non_camel_case_types)]
        r#fn,
        /// Fields without.
        Pair(String, T),
    }
}

/// What is deprecated may still be in a heap.
#[derive(strewn::Persist)]
pub struct Old {
    /// No longer used.
    #[deprecated]
    pub age: u64,
}

fn main() {
    #[derive(strewn::Persist)]
    struct Inner<'s, T>(strewn::PVec<'s, T>);

    fn is_persist<T: strewn::Persist>() {}
    is_persist::<Inner<'_, taken::Enum<'_, Old, 3, ';'>>>();
}
