//! [`check`]: is a heap on disk whole? Reads everything, maps nothing, changes nothing of it.

use crate::alloc::known_class;
use crate::arena::{check_number, locate, page_address, slot_address};
use crate::base::{Error, ErrorKind, FrameIndex, PAGE, PAGE_SHIFT, Result, ZONE_SHIFT, ZoneKind};
use crate::durable::{Addressing, Catalog, LogStore, Place, Recovered, RootEntry, default_place};
use std::path::Path;

/// What [`check`] found in a heap that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The last durable checkpoint; 0 if there was none yet.
    pub epoch: u64,
    /// The names of all roots.
    pub roots: Vec<String>,
    /// Allocated objects.
    pub live_objects: u64,
    /// Bytes of frames and pages that were read and matched their checksums.
    pub bytes_checked: u64,
    /// Checkpoints that are in the log and not in the image yet.
    pub replayed_records: u64,
    /// Bytes of a checkpoint that a crash cut short; it was never acknowledged. 0 if nothing of it can be told.
    pub dropped_tail_bytes: u64,
}

/// Reads the heap at `path` as [`Heap::open`](crate::Heap::open) would, and checks every checksum on the way: superblock, catalog, log, image, and that roots lead to objects. No
/// memory is mapped, so it works also where the heap's addresses are taken. Files are left as they are; the file `lock` is made if it is missing, and the files must be writable, as for opening. Blocks on the disk, for as
/// long as the heap is large.
///
/// # Errors
/// `NotFound`, `NotAHeap`, `UnsupportedVersion`, `Corrupt` (with file, offset and cause), `Locked` (someone has it open), `PermissionDenied`, `Io`.
pub fn check(path: impl AsRef<Path>) -> Result<CheckReport> {
    check_in(default_place(), path.as_ref())
}

/// The same in another place than the file system.
pub(crate) fn check_in(place: &dyn Place, path: &Path) -> Result<CheckReport> {
    let (store, recovered) = LogStore::open(place, path)?;
    let mut bytes_checked = 0;
    store.read(&mut |_, _, bytes| {
        bytes_checked += bytes.len() as u64;
        Ok(())
    })?;
    check_catalog(&recovered.catalog, recovered.addressing).map_err(|e| e.context(path.display()))?;
    let Recovered { epoch, catalog, replayed_records, dropped_tail_bytes, .. } = recovered;
    Ok(CheckReport {
        epoch: epoch.0,
        live_objects: catalog.live_objects(),
        roots: catalog.roots.into_iter().map(|root| root.name).collect(),
        bytes_checked,
        replayed_records,
        dropped_tail_bytes,
    })
}

/// What the durable layer knows nothing of: whether this build can map these zones, and whether roots lead to objects.
///
/// # Errors
/// `UnsupportedVersion`, `Corrupt`.
pub(crate) fn check_catalog(catalog: &Catalog, how: Addressing) -> Result<()> {
    for zone in &catalog.zones {
        check_number(zone.number)?;
        if let ZoneKind::Slots(layout) = zone.kind {
            known_class(zone.number, layout)?;
        }
    }
    check_roots(catalog, how)
}

/// Refuses roots that do not lead to an object large enough for their type.
fn check_roots(catalog: &Catalog, how: Addressing) -> Result<()> {
    for RootEntry { name, size, align, addr, .. } in &catalog.roots {
        let aligned = align.is_power_of_two() && addr.is_multiple_of(*align);
        if !aligned || object_bytes(catalog, how, *addr).is_none_or(|bytes| bytes < *size) {
            let what = format!(
                "root `{name}` of {size} bytes (alignment {align}) leads to {addr:#x}, where no such object is"
            );
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
    }
    Ok(())
}

/// How large the allocated object at `addr` is, if there is one.
fn object_bytes(catalog: &Catalog, how: Addressing, addr: u64) -> Option<u64> {
    let zone = catalog.zones.iter().find(|zone| u64::from(zone.number.0) == addr >> ZONE_SHIFT)?;
    match zone.kind {
        ZoneKind::Slots(layout) => {
            let spot = locate(layout, addr);
            let there = zone.mask(spot.frame).contains(spot.slot);
            (there && slot_address(zone.number, layout, how, spot) == addr).then_some(layout.slot_bytes() as u64)
        }
        ZoneKind::Runs => {
            let page = ((addr & ((1 << ZONE_SHIFT) - 1)) >> PAGE_SHIFT) as u32;
            let pages = *zone.runs.get(&page)?;
            (page_address(zone.number, FrameIndex(page)) == addr).then_some(u64::from(pages) * PAGE as u64)
        }
    }
}
