//! Little-endian integers and varints: writing to a `Vec<u8>`, and reading from bytes that may be anything.
//!
//! 1. [`Reader`] never reads past its slice and never panics: each call takes what it needs or returns [`Malformed`].
//! 2. Reading never allocates.

use std::fmt;

/// Why bytes cannot be decoded; the caller adds file and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A value with a fixed place in a header.
pub trait Field: Sized {
    /// Writes the value to `out`, which has exactly its size.
    fn put(&self, out: &mut [u8]);
    /// Reads the value from `bytes`, which has exactly its size.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! integer_field {
    ($($ty:ty),*) => { $(impl Field for $ty {
        fn put(&self, out: &mut [u8]) {
            out.copy_from_slice(&self.to_le_bytes());
        }
        fn get(bytes: &[u8]) -> Self {
            let mut array = [0; size_of::<$ty>()];
            array.copy_from_slice(bytes);
            <$ty>::from_le_bytes(array)
        }
    })* };
}
integer_field!(u16, u32, u64);

impl Field for [u8; 16] {
    fn put(&self, out: &mut [u8]) {
        out.copy_from_slice(self);
    }
    fn get(bytes: &[u8]) -> Self {
        let mut array = [0; 16];
        array.copy_from_slice(bytes);
        array
    }
}

/// Appends `value` in groups of seven bits, least first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`, from `at` on; at the end if `at` is beyond it.
    pub fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// How many bytes were read, from the start of the slice.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.remaining() {
            return Err(Malformed("ends in the middle of a value"));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// The next fixed-size integer.
    pub fn fixed<T: Field>(&mut self) -> Result<T, Malformed> {
        Ok(T::get(self.take(size_of::<T>())?))
    }

    /// The next varint; the shortest encoding is the only one accepted.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return Err(Malformed("an integer exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(Malformed("an integer is padded")) };
            }
        }
        Err(Malformed("an integer exceeds 64 bits"))
    }

    /// The next varint, if it fits `T`.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed("an integer is out of range"))
    }

    /// The next string: its length, then UTF-8.
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let len = self.small::<usize>()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed("a name is not UTF-8"))
    }
}

/// Appends a string that [`Reader::string`] reads.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<u64>(), shift in 0u32..64) {
            let mut out = Vec::new();
            put_varint(&mut out, value >> shift);
            let mut reader = Reader::at(&out, 0);
            prop_assert_eq!(reader.varint(), Ok(value >> shift));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::at(&bytes, 0);
            while reader.varint().is_ok() {}
            let _ = Reader::at(&bytes, 3).string();
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert!(Reader::at(&[0x80, 0x00], 0).varint().is_err());
        assert!(Reader::at(&[0xFF; 10], 0).varint().is_err());
        assert_eq!(Reader::at(&[0], 0).varint(), Ok(0));
    }
}
