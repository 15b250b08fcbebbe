//! A persistent object heap.
#![allow(dead_code, unused_imports, reason = "temporary, while layers are being written")]
mod base;
mod track;

pub use base::{Error, ErrorKind, Result};
