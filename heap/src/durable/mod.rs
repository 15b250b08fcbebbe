//! The durable layer: a heap's files, the log of checkpoints, the image that they are folded into, and recovery.
//!
//! It knows zones, frames and slots as numbers and bytes, and never dereferences heap memory.
//!
//! ```text
//!   HEAP/superblock     two copies: which catalog, which first log segment       superblock.rs
//!        log-0, log-1   checkpoints not yet in the image                         log.rs (write)  segment.rs (read)
//!        meta-0, meta-1 catalogs: bitmaps, runs, checksums, roots                meta.rs  catalog.rs
//!        zone-000 ..    the image, one sparse file a zone                        fold.rs (write)  image.rs (read)
//!        acked          the last acknowledged epoch, unsynced                    log.rs
//!        lock           held while the heap is open                              sys/lock.rs
//!
//!   store.rs    when to append, change segments, wait                recover.rs   opening   create.rs  creating
//!   folder.rs   running folds in the background       folded.rs  leaving out what is in the image already
//!   record.rs   what a checkpoint makes durable, encoding  items.rs  decoding     overlay.rs  records by place
//!   format.rs   sizes, magics, headers   bytes.rs  integers          failure.rs   what may be tried again
//!   storage.rs  files, as a trait        files.rs  those of the system   mem.rs  those of the twin
//! ```
//! Why a crash at any point leaves the last acknowledged checkpoint (or a later one that was attempted):
//!
//! 1. What is synced is never overwritten with other bytes while anything durable refers to it: records are appended; a
//!    segment is reused once both superblock copies are past it; M(g+1) takes the file of M(g-1); the superblock has two
//!    copies. The one exception is the image, whose frames are overwritten while M(g) and the sealed segment are there to
//!    tell old, new and torn ones apart and to make them new (`image.rs`).
//! 2. Each step that gives something up is preceded by the sync of what replaces it: record before acknowledgement, new
//!    segment's header before the sealed one's fold, M(g+1) before the frames, frames before the superblock, both
//!    superblocks before the segment's reuse.
//! 3. A sync that fails ends all writing (`failure.rs`).
//!
//! The same changes to the same objects, with the same heap id, leave the same bytes in all files of a closed heap.

mod bytes;
mod catalog;
mod create;
mod extents;
mod failure;
#[cfg(not(any(miri, strewn_twin)))]
mod files;
mod fold;
mod folded;
mod folder;
pub mod format;
mod image;
mod items;
mod log;
#[cfg(any(miri, strewn_twin))]
mod mem;
mod meta;
mod overlay;
mod record;
mod recover;
mod segment;
mod storage;
mod store;
mod superblock;

pub use catalog::{Catalog, ZoneCatalog};
pub use items::Item;
#[cfg(feature = "testing")]
pub use items::Items;
pub use record::{Record, RecordBuilder, RootEntry};
pub use recover::Recovered;
#[cfg(feature = "testing")]
pub use storage::{NewStorage, Storage, StorageFile};
pub use storage::{Place, default_place};
#[cfg(feature = "testing")]
pub use store::Appended;
pub use store::{LogStore, StoreMeter, StoreOptions, StoreStats};
pub use superblock::Addressing;
