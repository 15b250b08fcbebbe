//! [`PString`]: a growable text in a heap.

use super::pvec::FromIteratorIn;
use super::{PVec, Persist, Schema, Walker};
use crate::base::Result;
use crate::section::Section;
use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::str;

/// A growable text in a heap, in UTF-8. The persistent `String`.
///
/// ```
/// # use strewn::{Heap, PString};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("string.heap"))?;
/// let section = heap.enter();
/// let mut text = PString::from_str_in("a persistent", &section);
/// text += " heap";
/// assert_eq!(text, "a persistent heap");
/// assert_eq!(text.to_uppercase(), "A PERSISTENT HEAP");
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// # Panics
/// As [`PVec`] does.
#[repr(transparent)]
#[derive(Clone)]
pub struct PString<'s> {
    bytes: PVec<'s, u8>,
}

impl<'s> PString<'s> {
    /// An empty text in the heap of `section`.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { bytes: PVec::new_in(section) }
    }

    /// An empty text with room for `capacity` bytes.
    pub fn with_capacity_in(capacity: usize, section: &'s Section<'_>) -> Self {
        Self { bytes: PVec::with_capacity_in(capacity, section) }
    }

    /// A copy of `text`.
    pub fn from_str_in(text: &str, section: &'s Section<'_>) -> Self {
        Self { bytes: PVec::from_slice_in(text.as_bytes(), section) }
    }

    /// A copy of `text`.
    ///
    /// # Errors
    /// `HeapFull` or `OutOfMemory`.
    pub fn try_from_str_in(text: &str, section: &'s Section<'_>) -> Result<Self> {
        let mut copy = Self::new_in(section);
        copy.try_push_str(text)?;
        Ok(copy)
    }

    /// The text of `bytes`.
    ///
    /// # Errors
    /// Where they are not UTF-8.
    pub fn from_utf8(bytes: PVec<'s, u8>) -> Result<Self, str::Utf8Error> {
        str::from_utf8(&bytes)?;
        Ok(Self { bytes })
    }

    /// The bytes.
    pub fn into_bytes(self) -> PVec<'s, u8> {
        self.bytes
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        // SAFETY: the bytes are UTF-8: only whole texts are ever added, and only whole characters taken.
        unsafe { str::from_utf8_unchecked(&self.bytes) }
    }

    /// The text, to change it in place.
    pub fn as_mut_str(&mut self) -> &mut str {
        // SAFETY: as in `as_str`.
        unsafe { str::from_utf8_unchecked_mut(&mut self.bytes) }
    }

    /// How many bytes fit without growing.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `more` bytes beyond the present ones.
    pub fn reserve(&mut self, more: usize) {
        self.bytes.reserve(more);
    }

    /// Makes room for `more` bytes beyond the present ones.
    ///
    /// # Errors
    /// As for [`PVec::try_reserve`].
    pub fn try_reserve(&mut self, more: usize) -> Result<()> {
        self.bytes.try_reserve(more)
    }

    /// Gives back what is not needed.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Appends `text`.
    pub fn push_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// Appends `text`.
    ///
    /// # Errors
    /// As for [`PVec::try_reserve`].
    pub fn try_push_str(&mut self, text: &str) -> Result<()> {
        self.bytes.try_extend_from_slice(text.as_bytes())
    }

    /// Appends `c`.
    pub fn push(&mut self, c: char) {
        self.push_str(c.encode_utf8(&mut [0; 4]));
    }

    /// Takes out the last character.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Puts `text` at byte `at`.
    ///
    /// # Panics
    /// If `at` is not between two characters.
    pub fn insert_str(&mut self, at: usize, text: &str) {
        assert!(self.is_char_boundary(at), "byte {at} is not between two characters");
        self.push_str(text);
        self.bytes[at..].rotate_right(text.len());
    }

    /// Drops all but the first `len` bytes.
    ///
    /// # Panics
    /// If `len` is not between two characters.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            assert!(self.is_char_boundary(len), "byte {len} is not between two characters");
            self.bytes.truncate(len);
        }
    }

    /// Makes the text empty; the memory is kept.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

// SAFETY: a `PVec`, whose bytes a walk checks to be UTF-8.
unsafe impl Persist for PString<'_> {
    type In<'s> = PString<'s>;
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        "PString".to_owned()
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the contract of this function. The array is looked at as one only when its walk has found it good: then its memory is there.
        unsafe {
            PVec::<u8>::walk(&raw mut (*this).bytes, walker)?;
            match str::from_utf8(&(*this).bytes) {
                Ok(_) => Ok(()),
                Err(e) => Err(walker.invalid::<Self>(format_args!("text with {e}"))),
            }
        }
    }
}

impl Deref for PString<'_> {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl DerefMut for PString<'_> {
    fn deref_mut(&mut self) -> &mut str {
        self.as_mut_str()
    }
}

impl AsRef<str> for PString<'_> {
    #[inline]
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for PString<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<str> for PString<'_> {
    #[inline]
    fn borrow(&self) -> &str {
        self
    }
}

macro_rules! equal_to {
    ($($other:ty)*) => {
        $(
            impl PartialEq<$other> for PString<'_> {
                fn eq(&self, other: &$other) -> bool {
                    self.as_str() == AsRef::<str>::as_ref(other)
                }
            }
            impl PartialEq<PString<'_>> for $other {
                fn eq(&self, other: &PString<'_>) -> bool {
                    AsRef::<str>::as_ref(self) == other.as_str()
                }
            }
        )*
    };
}

equal_to!(str &str String Cow<'_, str>);

impl PartialEq for PString<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PString<'_> {}

impl PartialOrd for PString<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PString<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for PString<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for PString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for PString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Write for PString<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_push_str(text).map_err(|_| fmt::Error)
    }
}

impl std::ops::AddAssign<&str> for PString<'_> {
    fn add_assign(&mut self, text: &str) {
        self.push_str(text);
    }
}

impl Extend<char> for PString<'_> {
    fn extend<I: IntoIterator<Item = char>>(&mut self, chars: I) {
        chars.into_iter().for_each(|c| self.push(c));
    }
}

impl<'a> Extend<&'a str> for PString<'_> {
    fn extend<I: IntoIterator<Item = &'a str>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push_str(text));
    }
}

impl<'s, A> FromIteratorIn<'s, A> for PString<'s>
where
    Self: Extend<A>,
{
    fn from_iter_in<I: IntoIterator<Item = A>>(values: I, section: &'s Section<'_>) -> Self {
        let mut text = Self::new_in(section);
        text.extend(values);
        text
    }
}
