#![doc = include_str!("../../README.md")]
#![cfg_attr(
    all(test, any(loom, shuttle)),
    allow(dead_code, reason = "the tests that use it are not built with models")
)]

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

#[doc = include_str!("../../docs/tutorial.md")]
pub mod tutorial {}
#[doc = include_str!("../../docs/pitfalls.md")]
pub mod pitfalls {}

pub use arena::Writes;
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
pub use strewn_derive::Persist;
pub use sys::probe::{Feature, Probe, probe};
pub use ticker::Ticker;
pub use track::TrackerKind;
pub use typed::{
    CollectIn, FromIteratorIn, HeapAlloc, Migrate, PArc, PBTreeMap, PBTreeSet, PBox, PBuildHasher, PCell, PHashMap,
    PHashSet, PMutex, PMutexGuard, PRwLock, PRwLockReadGuard, PRwLockWriteGuard, PString, PVec, Persist, Root, RootMut,
    RootRef,
};

/// Iterators and entries of [`PHashMap`].
pub mod hash_map {
    pub use crate::typed::hash_map::{
        Drain, Entry, EntryRef, IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, OccupiedEntry, PHasher,
        VacantEntry, VacantEntryRef, Values, ValuesMut,
    };
    pub use hashbrown::Equivalent;
}

/// Iterators of [`PHashSet`].
pub mod hash_set {
    pub use crate::typed::hash_set::{Difference, Drain, Intersection, IntoIter, Iter, SymmetricDifference, Union};
}

/// Reading into a heap with the crate `serde`.
#[cfg(feature = "serde")]
pub mod serde {
    pub use crate::typed::serde::{DeserializeIn, In};
}

/// Entries and iterators of [`PBTreeMap`] and [`PBTreeSet`].
pub mod btree {
    pub use crate::typed::btree::{
        Difference, Entry, Intersection, IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, OccupiedEntry, Range,
        RangeMut, SetRange, SymmetricDifference, Union, VacantEntry, Values, ValuesMut,
    };
}

/// What a derived `Persist` calls.
#[doc(hidden)]
pub mod derive_support {
    pub use crate::arena::Writes;
    pub use crate::base::{Error, Result};
    pub use crate::typed::{Fields, Migrate, Persist, Predecessor, Schema, Walker};
}
