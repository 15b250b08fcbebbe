#![doc = include_str!("../../README.md")]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "strewn runs on 64-bit little-endian Linux only: addresses and numbers are stored as they are in memory"
);

extern crate self as strewn;

mod alloc;
mod arena;
mod base;
mod check;
mod checkpoint;
mod durable;
mod engine;
mod heap;
mod ladder;
mod leaks;
mod options;
mod section;
mod stats;
mod sys;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod ticker;
mod track;
mod typed;

pub use base::{Error, ErrorKind, Result};
pub use check::{CheckReport, check};
pub use checkpoint::{CutReport, Ticket};
pub use engine::OnPanic;
pub use heap::Heap;
pub use ladder::{LadderStats, Mapping, PolicyKind};
pub use leaks::{Leak, LeakReport, LeakSum, Miscount};
pub use options::HeapOptions;
pub use section::Section;
pub use stats::{Durations, Stats};
pub use sys::probe::{Feature, Probe, probe};
pub use ticker::Ticker;
pub use track::TrackerKind;
pub use track::Writes;
pub use typed::{CollectIn, FromIteratorIn, Migrate, PBox, PString, PVec, Persist, Root, RootMut, RootRef};
pub use typed::{PArc, PCell, PMutex, PMutexGuard, PRwLock, PRwLockReadGuard, PRwLockWriteGuard};

/// What a derived `Persist` calls.
#[doc(hidden)]
pub mod derive_support {
    pub use crate::base::{Error, Result};
    pub use crate::track::Writes;
    pub use crate::typed::{Fields, Migrate, Persist, Predecessor, Schema, Walker};
}
