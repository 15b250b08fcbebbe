//! What counts as a word: identifiers, in lower case, and the parts of those that are made of several (`page_table`, `PageTable`).
//!
//! Words have 2 to 40 characters and do not begin with a digit.

use std::collections::HashMap;
use std::ops::RangeInclusive;

const CHARS: RangeInclusive<usize> = 2..=40;

/// The words of one file in order, each with how often it occurs.
pub type Words = Vec<(Box<str>, u32)>;

/// The words of `text`, or `None` if it is no text: it holds a NUL.
pub fn words_of(text: &[u8]) -> Option<Words> {
    if text.contains(&0) {
        return None;
    }
    let mut counts: HashMap<Box<str>, u32> = HashMap::default();
    let mut lower = String::new();
    for identifier in identifiers(&String::from_utf8_lossy(text)) {
        count(identifier, &mut lower, &mut counts);
        let mut parts = parts(identifier).peekable();
        let first = parts.next();
        if parts.peek().is_some() {
            first.into_iter().chain(parts).for_each(|part| count(part, &mut lower, &mut counts));
        }
    }
    let mut words: Words = counts.into_iter().collect();
    words.sort_unstable();
    Some(words)
}

/// The words that a query means by `text`: whole identifiers.
pub fn query_words(text: &str) -> Vec<String> {
    identifiers(text).map(str::to_lowercase).filter(|word| is_word(word)).collect()
}

fn count(word: &str, lower: &mut String, counts: &mut HashMap<Box<str>, u32>) {
    if !is_word(word) {
        return;
    }
    lower.clear();
    lower.extend(word.chars().flat_map(char::to_lowercase));
    match counts.get_mut(lower.as_str()) {
        Some(n) => *n += 1,
        None => {
            counts.insert(lower.as_str().into(), 1);
        }
    }
}

fn is_word(text: &str) -> bool {
    let chars = if text.is_ascii() { text.len() } else { text.chars().count() };
    CHARS.contains(&chars) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii() && c.is_alphanumeric();
    text.split(move |c| !inside(c)).map(|word| word.trim_matches('_')).filter(|word| !word.is_empty())
}

/// The parts between underscores, and between humps: `HTTPServer_x` has `HTTP`, `Server` and `x`.
fn parts(identifier: &str) -> impl Iterator<Item = &str> {
    identifier.split('_').filter(|part| !part.is_empty()).flat_map(humps)
}

fn humps(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let end = hump_end(rest)?;
        let (hump, behind) = rest.split_at(end);
        rest = behind;
        Some(hump)
    })
}

/// Where the first hump of `word` ends: where a lower-case letter meets an upper-case one, or before the last of several upper-case ones.
fn hump_end(word: &str) -> Option<usize> {
    let mut chars = word.char_indices().peekable();
    let (_, mut before) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        let last_of_several = before.is_uppercase() && chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        if c.is_uppercase() && (!before.is_uppercase() || last_of_several) {
            return Some(at);
        }
        before = c;
    }
    Some(word.len())
}
