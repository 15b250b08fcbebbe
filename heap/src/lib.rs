#![doc = include_str!("../../README.md")]

mod alloc;
mod arena;
mod base;
mod checkpoint;
mod durable;
mod engine;
mod heap;
mod options;
mod section;
mod stats;
mod sys;
mod ticker;
mod track;
mod typed;

pub use base::{Error, ErrorKind, Result};
pub use checkpoint::{CutReport, Ticket};
pub use heap::Heap;
pub use options::HeapOptions;
pub use section::Section;
pub use stats::{Durations, Stats};
pub use sys::probe::{Feature, Probe, probe};
pub use ticker::Ticker;
pub use track::TrackerKind;
pub use typed::{PBox, PVec, Persist, Root, RootMut, RootRef};
