//! The derive macro of strewn. Use it as `strewn::Persist`, where the trait of that name is documented.
//!
//! It vouches for what the trait asks of a type, so it must refuse each type of which that is not so, and say what to use instead.

mod attributes;
mod enums;
mod expand;
mod fields;
mod generics;
mod instead;
mod refuse;
#[cfg(test)]
mod tests;

/// Implements `strewn::Persist` for a struct or an enum, each of whose fields is `Persist`.
///
/// The type has at most one lifetime parameter, that of the section in which it is seen. Its type parameters are `Persist`; other bounds belong on
/// the impls that need them. An enum says the integer that tells its variants apart: `#[repr(u8)]`. Unions and packed structs are refused.
///
/// | attribute of the type | meaning |
/// | --- | --- |
/// | `#[persist(name = "Desk")]` | what a heap calls the type; its identifier, if nothing is said |
/// | `#[persist(version = 2)]` | of the type; 1, if nothing is said |
/// | `#[persist(from = OldDesk<'s>)]` | what it was in the version before; `Migrate` says how it becomes this type |
/// | `#[persist(writes = "hardware")]`, `"barrier"` | how writes through `&mut` are caught; as the heap says, if nothing is said |
///
/// | attribute of a field | meaning |
/// | --- | --- |
/// | `#[persist(rebuild)]` | the field does not survive: it is `Default::default()` each time the heap is opened; it need not be `Persist`, but `Send + 'static` |
/// | `#[persist(rebuild = path::to::function)]` | the same with what that function returns |
#[proc_macro_derive(Persist, attributes(persist))]
pub fn persist(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand::derive(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
