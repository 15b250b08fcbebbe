//! [`Schema`]: what a type looks like in memory, as text that is stored with each root, and what differs between two of them.
//!
//! ```text
//! Desk                                     the type of the root
//! Desk{v1;72/8;steps@0+8:u64;words@8+24:PVec<PString>;odd@32+8:Option<PBox<[u64;3]>>/8}
//!                                          each type that was defined: version, size/alignment, fields: name@offset+size:type
//! ```
//! Types are defined in the order in which they are met, each once; so types may contain themselves.

use super::Persist;
use std::any::TypeId;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a type looks like in memory.
#[derive(Default)]
pub struct Schema {
    /// The types that are defined, whatever their lifetimes, and their names here.
    known: Vec<(TypeId, String)>,
    /// Their definitions.
    text: String,
    rebuilds: bool,
    /// Of the fields that are made anew: their types, as far as one process can tell types apart.
    made: DefaultHasher,
}

/// The fields of a type that is being defined.
pub struct Fields<'a> {
    schema: &'a mut Schema,
    text: String,
}

/// The finished description of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name of the type, and the definitions.
    pub text: String,
    /// Whether values, or what they own, have fields that are made anew when the heap is opened.
    pub rebuilds: bool,
    /// A number for the types of these fields, in this process only: the text has no more of them than their sizes.
    pub made: u64,
}

impl Schema {
    /// Describes `T`.
    pub fn of<T: Persist>() -> Described {
        let mut schema = Self::default();
        let name = T::describe(&mut schema);
        Described {
            text: format!("{name}\n{}", schema.text).trim_end().to_owned(),
            rebuilds: schema.rebuilds,
            made: schema.made.finish(),
        }
    }

    /// The definitions so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Defines `T` as `name` with the types `arguments`, unless it is known; `what` adds the fields. Returns the name.
    pub fn define<T>(
        &mut self,
        name: &str,
        version: u32,
        arguments: &[String],
        what: impl FnOnce(&mut Fields<'_>),
    ) -> String {
        let id = typeid::of::<T>();
        if let Some((_, name)) = self.known.iter().find(|(known, _)| *known == id) {
            return name.clone();
        }
        let full = if arguments.is_empty() { name.to_owned() } else { format!("{name}<{}>", arguments.join(",")) };
        // Two types of one name, from two modules.
        let mut name = full.clone();
        for number in 2.. {
            if !self.known.iter().any(|(_, known)| *known == name) {
                break;
            }
            name = format!("{full}#{number}");
        }
        self.known.push((id, name.clone()));
        let mut fields = Fields { schema: self, text: String::new() };
        what(&mut fields);
        let fields = fields.text;
        let _ = writeln!(self.text, "{name}{{v{version};{}/{}{fields}}}", size_of::<T>(), align_of::<T>());
        name
    }
}

impl Fields<'_> {
    /// A field.
    pub fn field<F: Persist>(&mut self, name: &str, offset: usize) {
        let kind = F::describe(self.schema);
        let _ = write!(self.text, ";{name}@{offset}+{}:{kind}", size_of::<F>());
    }

    /// A field that is made anew each time that the heap is opened.
    pub fn rebuilt<F: 'static>(&mut self, name: &str, offset: usize) {
        self.schema.rebuilds = true;
        TypeId::of::<F>().hash(&mut self.schema.made);
        let _ = write!(self.text, ";{name}@{offset}+{}:rebuilt", size_of::<F>());
    }

    /// A variant of an enum. The fields that follow are its own.
    pub fn variant(&mut self, name: &str, discriminant: i128) {
        let _ = write!(self.text, ";={discriminant}:{name}");
    }
}

impl Described {
    /// The name of the type.
    pub fn name(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

/// A number for a description (FNV-1a, 64 bits): what an error prints of it.
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The first difference between what is stored and what the program has.
pub fn first_difference(stored: &str, wanted: &str) -> String {
    let (old, new) = (Lines::of(stored), Lines::of(wanted));
    for (name, fields) in &new.types {
        let Some((_, before)) = old.types.iter().find(|(known, _)| known == name) else { continue };
        let longest = fields.len().max(before.len());
        let mut both = (0..longest).map(|i| (before.get(i), fields.get(i)));
        if let Some((before, now)) = both.find(|(a, b)| a != b) {
            return match (before, now) {
                (Some(before), Some(now)) => format!("in {name}, {}, not {}", said(before), said(now)),
                (Some(before), None) => format!("in {name}, {}, which the program's type does not have", said(before)),
                (None, now) => format!("{name} has no {}", said(now.expect("one of them is there"))),
            };
        }
    }
    if old.name == new.name {
        "the types inside are others".to_owned()
    } else {
        format!("the heap has a {}, not a {}", old.name, new.name)
    }
}

/// A field as an error says it: `name@8+24:PVec<u8>`, `v1`, `72/8`.
fn said(field: &str) -> String {
    if let Some((name, rest)) = field.split_once('@')
        && let Some((place, kind)) = rest.split_once(':')
        && let Some((offset, size)) = place.split_once('+')
    {
        return format!("field `{name}` is a {kind} ({size} bytes at offset {offset})");
    }
    if let Some((discriminant, name)) = field.strip_prefix('=').and_then(|rest| rest.split_once(':')) {
        return format!("variant `{name}` is {discriminant}");
    }
    match (field.strip_prefix('v'), field.split_once('/')) {
        (Some(version), _) => format!("the version is {version}"),
        (None, Some((size, align))) => format!("the size is {size} and the alignment {align}"),
        (None, None) => format!("`{field}`"),
    }
}

/// A description taken apart.
struct Lines<'t> {
    name: &'t str,
    types: Vec<(&'t str, Vec<&'t str>)>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let mut lines = text.lines();
        let name = lines.next().unwrap_or_default();
        let types = lines.filter_map(|line| {
            let (name, fields) = line.split_once('{')?;
            Some((name, split_fields(fields.trim_end_matches('}'))))
        });
        Self { name, types: types.collect() }
    }
}

/// Splits at semicolons, but not at those of arrays.
fn split_fields(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut fields) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ';' if depth == 0 => {
                fields.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(&text[start..]);
    fields
}
