//! What `#[persist(..)]` and `#[repr(..)]` say. What is not known, or said twice, is refused by name.

use proc_macro2::{Ident, Span};
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, Type, parenthesized};

/// The integers that may tell the variants of an enum apart.
const TAGS: [&str; 10] = ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize"];

/// What is said of the whole type.
#[derive(Default)]
pub(crate) struct OfType {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) writes: Option<Writes>,
    pub(crate) from: Option<Type>,
}

/// How writes to values of the type are caught, where it says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Writes {
    Hardware,
    Barrier,
}

/// What a field is each time the heap is opened.
pub(crate) enum Rebuild {
    ByDefault,
    By(Box<Path>),
}

/// What is said of the type's layout.
#[derive(Default)]
pub(crate) struct Repr {
    pub(crate) tag: Option<Ident>,
    pub(crate) c: Option<Span>,
    pub(crate) packed: Option<Span>,
}

impl OfType {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut said = Self::default();
        each(attributes, |meta| match key(&meta)?.as_str() {
            "name" => once(&meta, &mut said.name, name),
            "version" => once(&meta, &mut said.version, version),
            "writes" => once(&meta, &mut said.writes, writes),
            "from" => once(&meta, &mut said.from, |meta| meta.value()?.parse()),
            "rebuild" => Err(meta.error("`rebuild` is said of a field, not of the type")),
            other => {
                Err(meta.error(format!("`{other}` is not known; of a type are `name`, `version`, `from` and `writes`")))
            }
        })?;
        Ok(said)
    }
}

impl Rebuild {
    /// Of a field.
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Option<Self>> {
        let mut said = None;
        each(attributes, |meta| match key(&meta)?.as_str() {
            "rebuild" => once(&meta, &mut said, rebuild),
            other @ ("name" | "version" | "from" | "writes") => {
                Err(meta.error(format!("`{other}` is said of the type, not of a field")))
            }
            other => Err(meta.error(format!("`{other}` is not known; of a field is `rebuild`"))),
        })?;
        Ok(said)
    }
}

/// Nothing can be said of a variant.
pub(crate) fn of_variant(attributes: &[Attribute]) -> Result<()> {
    match attributes.iter().find(|attribute| attribute.path().is_ident("persist")) {
        Some(attribute) => {
            Err(Error::new_spanned(attribute, "nothing can be said of a variant; say it of the type or of a field"))
        }
        None => Ok(()),
    }
}

impl Repr {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut said = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            attribute.parse_nested_meta(|meta| {
                let what = key(&meta)?;
                match what.as_str() {
                    "C" => said.c = Some(meta.path.span()),
                    "packed" => said.packed = Some(meta.path.span()),
                    tag if TAGS.contains(&tag) => said.tag = meta.path.get_ident().cloned(),
                    // The compiler judges the others.
                    _ => {}
                }
                if meta.input.peek(syn::token::Paren) {
                    let number;
                    parenthesized!(number in meta.input);
                    number.parse::<proc_macro2::TokenStream>()?;
                }
                Ok(())
            })?;
        }
        Ok(said)
    }
}

fn each(attributes: &[Attribute], mut what: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("persist")) {
        attribute.parse_nested_meta(&mut what)?;
    }
    Ok(())
}

fn key(meta: &ParseNestedMeta<'_>) -> Result<String> {
    Ok(meta.path.require_ident()?.to_string())
}

fn once<T>(
    meta: &ParseNestedMeta<'_>,
    said: &mut Option<T>,
    parse: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    if said.is_some() {
        return Err(meta.error(format!("`{}` is said twice", key(meta)?)));
    }
    *said = Some(parse(meta)?);
    Ok(())
}

/// A name stands in the names of other types, as in `Pair<u64,Desk>`.
fn name(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let literal = meta.value()?.parse::<LitStr>()?;
    let name = literal.value();
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(Error::new_spanned(literal, "a name is made of letters, digits, `_`, `-`, `.` and `:`"));
    }
    Ok(name)
}

fn version(meta: &ParseNestedMeta<'_>) -> Result<u32> {
    let literal = meta.value()?.parse::<LitInt>()?;
    match literal.base10_parse::<u32>() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(Error::new_spanned(literal, "a version is a number from 1 to 4294967295")),
    }
}

fn writes(meta: &ParseNestedMeta<'_>) -> Result<Writes> {
    let literal = meta.value()?.parse::<LitStr>()?;
    match literal.value().as_str() {
        "hardware" => Ok(Writes::Hardware),
        "barrier" => Ok(Writes::Barrier),
        _ => Err(Error::new_spanned(literal, "writes are caught by \"hardware\" or by a \"barrier\"")),
    }
}

fn rebuild(meta: &ParseNestedMeta<'_>) -> Result<Rebuild> {
    if !meta.input.peek(syn::Token![=]) {
        return Ok(Rebuild::ByDefault);
    }
    let value = meta.value()?;
    let path = value.parse::<Path>();
    let path =
        path.map_err(|error| Error::new(error.span(), "`rebuild` takes the path of a function, without quotes"))?;
    Ok(Rebuild::By(Box::new(path)))
}
