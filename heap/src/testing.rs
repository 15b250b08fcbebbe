//! What the suites of `strewn-tests` look at the heap with, and nobody else should use: the durable layer by itself, heaps on storage that is not the
//! file system's, and [canaries](Canary). Built with the feature `testing` only; may change at any time.

/// What the typed API asks where to write, and which marks what it writes past the tracker. Inside a section only.
pub use crate::arena::write_address;
pub use crate::base::canary::{Canary, canary, set_canary};
pub use crate::base::{
    Epoch, FrameIndex, PAGE, SlotIndex, SlotLayout, SlotMask, ZONE_FRAMES, ZoneIndex, ZoneKind, ZoneNumber,
};
pub use crate::durable::format;
pub use crate::durable::{
    Addressing, Appended, Catalog, Item, Items, LogStore, NewStorage, Place, Record, RecordBuilder, Recovered,
    RootEntry, Storage, StorageFile, StoreOptions, StoreStats, ZoneCatalog, default_place,
};
use crate::{CheckReport, Heap, HeapOptions, Result};
use std::path::Path;

/// [`HeapOptions::create`], in another place than the file system.
///
/// # Errors
/// As there.
pub fn create(options: &HeapOptions, place: &dyn Place, path: &Path) -> Result<Heap> {
    options.create_in(place, path)
}

/// [`check`](crate::check), in another place than the file system.
///
/// # Errors
/// As there.
pub fn check(place: &dyn Place, path: &Path) -> Result<CheckReport> {
    crate::check::check_in(place, path)
}

/// [`HeapOptions::open`], in another place than the file system.
///
/// # Errors
/// As there.
pub fn open(options: &HeapOptions, place: &dyn Place, path: &Path) -> Result<Heap> {
    options.open_in(place, path)
}
