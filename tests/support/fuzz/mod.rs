//! What the fuzz targets in `fuzz/` do with their bytes, and what a test on stable does with the corpus.
//!
//! - [`image`]: the files of a heap, damaged or made up, with checksums put right where the input says so.
//! - [`log`]: records whose payloads are the input, in the log of a sound heap.
//! - [`operations`]: what a program does with a heap, against a model.
//!
//! Whatever the bytes are: no panic, no second of processor time, no more memory than the files justify ([`budget`]), and what is accepted stays usable
//! ([`examine`]).

pub mod budget;
pub mod examine;
pub mod image;
pub mod log;
pub mod memory;
pub mod operations;
pub mod repair;

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// The targets. Their corpora are in `fuzz/corpus/NAME`.
pub const TARGETS: [Target; 3] = [("image", image::run), ("log", log::run), ("operations", operations::run)];

/// Reads numbers and bytes from an input; zeros once it has ended.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether all was read.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes, or as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes, the low one first.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}

/// The inputs that the committed corpus of `target` starts with, by name.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let inputs = match target {
        "image" => image::seeds(),
        "log" => log::seeds(),
        _ => operations::seeds(),
    };
    inputs.into_iter().enumerate().map(|(i, input)| (format!("seed-{i:02}"), input)).collect()
}
