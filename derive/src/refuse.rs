//! Refuses fields whose type can be nothing that survives, whatever its names mean.

use crate::instead;
use syn::{Error, GenericArgument, Lifetime, Path, PathArguments, Result, Type};

const REFERENCE: &str = "a reference cannot live in a heap, because what it points to is elsewhere after a restart; use `PBox<'s, T>` to own the value, or an \
                         index to find it";
const POINTER: &str = "a raw pointer cannot live in a heap, because nobody knows what it points to after a restart; use `PBox<'s, T>`, or the address as a \
                       `u64` if it came from `Section::alloc`";
const FUNCTION: &str = "a function pointer cannot live in a heap, because functions lie elsewhere in every build; use an enum of what can be called, or \
                        `#[persist(rebuild)]`";
const OBJECT: &str = "a trait object cannot live in a heap, because its vtable lies elsewhere in every build; use an enum of the types that have the trait";
const SLICE: &str = "a slice has no size of its own; use `PVec<'s, T>`, or an array `[T; N]`";
const STR: &str = "`str` has no size of its own; use `PString<'s>`";

/// Looks at every type that `of` is made of.
///
/// # Errors
/// One message for each that is refused.
pub(crate) fn field(of: &Type) -> Result<()> {
    match of {
        Type::Reference(_) => refuse(of, REFERENCE),
        Type::Ptr(_) => refuse(of, POINTER),
        Type::FnPtr(_) => refuse(of, FUNCTION),
        Type::TraitObject(_) => refuse(of, OBJECT),
        Type::Slice(_) => refuse(of, SLICE),
        Type::Path(path) if path.path.is_ident("str") => refuse(of, STR),
        Type::Path(path) if path.qself.is_none() => match instead::refused(&path.path) {
            Some(what) => refuse(of, &what),
            None => all(lifetimes(&path.path).map(of_section).chain(parts(of).into_iter().map(field))),
        },
        _ => all(parts(of).into_iter().map(field)),
    }
}

/// The types that `of` is made of, as far as its value is. What a `PhantomData` names is no part of any value.
pub(crate) fn parts(of: &Type) -> Vec<&Type> {
    match of {
        Type::Array(array) => vec![&array.elem],
        Type::Group(group) => vec![&group.elem],
        Type::Paren(paren) => vec![&paren.elem],
        Type::Tuple(tuple) => tuple.elems.iter().collect(),
        Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "PhantomData") => Vec::new(),
        Type::Path(path) => path.path.segments.iter().flat_map(|segment| arguments(&segment.arguments)).collect(),
        _ => Vec::new(),
    }
}

fn arguments(of: &PathArguments) -> Vec<&Type> {
    let PathArguments::AngleBracketed(of) = of else { return Vec::new() };
    let types = of.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(of) => Some(of),
        _ => None,
    });
    types.collect()
}

fn lifetimes(of: &Path) -> impl Iterator<Item = &Lifetime> {
    let arguments = of.segments.iter().filter_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    });
    arguments.flatten().filter_map(|argument| match argument {
        GenericArgument::Lifetime(lifetime) => Some(lifetime),
        _ => None,
    })
}

/// The same value is seen in many sections, so nothing in it lasts longer than any.
fn of_section(lifetime: &Lifetime) -> Result<()> {
    if lifetime.ident == "static" {
        let what =
            "no section lasts for ever; give the type a lifetime `'s`, which is that of a section, and say it here";
        return Err(Error::new_spanned(lifetime, what));
    }
    Ok(())
}

fn refuse(of: &Type, what: &str) -> Result<()> {
    Err(Error::new_spanned(of, what))
}

/// The errors of all, as one.
pub(crate) fn all(results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let errors = results.into_iter().filter_map(Result::err);
    match errors.reduce(|mut all, error| {
        all.combine(error);
        all
    }) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
