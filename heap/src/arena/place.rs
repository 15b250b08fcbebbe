//! The choice of zones: a new heap takes free ones, a recovered heap needs exactly its own.

use super::barrier::forget;
use crate::base::{END_ZONE, Error, ErrorKind, FIRST_ZONE, PAGE, Result, ZoneIndex, ZoneKind, ZoneNumber};
use crate::durable::Addressing;
use crate::sys::{WorkingMemory, ZoneMapping};

const ZONES: u16 = END_ZONE - FIRST_ZONE;

/// Takes the first free zone, searching upwards (and around) from one that `heap_id` picks, so that two heaps rarely collide.
pub fn claim_zone(
    memory: &WorkingMemory,
    heap_id: &[u8; 16],
    index: ZoneIndex,
    kind: ZoneKind,
    how: Addressing,
) -> Result<ZoneMapping> {
    let start = heap_id.iter().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let start = (start % u32::from(ZONES)) as u16 + index.0;
    for step in 0..ZONES {
        let number = ZoneNumber(FIRST_ZONE + (start + step) % ZONES);
        match map_exactly(memory, number, index, kind, how) {
            Err(e) if e.kind() == ErrorKind::AddressInUse => {}
            other => return other,
        }
    }
    Err(Error::new(
        ErrorKind::HeapFull,
        format!("all {ZONES} zones of this process are in use; close another heap, or use fewer size classes"),
    ))
}

/// Refuses a zone that lies where this build maps none.
pub fn check_number(number: ZoneNumber) -> Result<()> {
    if (FIRST_ZONE..END_ZONE).contains(&number.0) {
        return Ok(());
    }
    let what = format!("zone {number} is not among the zones {FIRST_ZONE} to {} that this build can map", END_ZONE - 1);
    Err(Error::new(ErrorKind::UnsupportedVersion, what))
}

/// Maps zone `number`, or says what is in the way.
pub fn map_exactly(
    memory: &WorkingMemory,
    number: ZoneNumber,
    index: ZoneIndex,
    kind: ZoneKind,
    how: Addressing,
) -> Result<ZoneMapping> {
    check_number(number)?;
    let lanes = match (kind, how) {
        (ZoneKind::Slots(layout), Addressing::Lanes) => layout.slots(),
        _ => 0,
    };
    let mapping = memory.map_zone(number, index, lanes, u64::from(kind.capacity()) * PAGE as u64)?;
    forget(number);
    Ok(mapping)
}
