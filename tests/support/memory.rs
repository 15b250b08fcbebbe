//! Raw access to objects by address, and bytes to fill them with.

use std::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};
use strewn::{Writes, testing::write_address};

/// The pointer to the object at `addr`. Heaps expose the provenance of their zones.
///
/// # Panics
/// If `addr` is zero.
pub fn object(addr: u64) -> NonNull<u8> {
    NonNull::new(with_exposed_provenance_mut(addr as usize)).expect("no object lies at address zero")
}

/// Copies out the `len` bytes at `addr`.
///
/// # Safety
/// They lie in one object of an open heap, and nobody writes them meanwhile.
pub unsafe fn read(addr: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: readable by the contract; the vector is as long, and new.
    unsafe { with_exposed_provenance::<u8>(addr as usize).copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
    bytes
}

/// Writes `bytes` at `addr`: as what they are will have it, through the object's own lane, where hardware catches it, or past that, having marked the object.
///
/// # Safety
/// They fit into one object of an open heap, which nobody else uses meanwhile, and this thread is inside a section.
pub unsafe fn write(addr: u64, bytes: &[u8]) {
    let draw = mix(addr, bytes.iter().fold(0, |sum, byte| sum + u64::from(*byte)));
    let writes = if draw.is_multiple_of(2) { Writes::Barrier } else { Writes::Hardware };
    // SAFETY: writable by the contract; `bytes` are not in the heap, whose objects nobody borrows here.
    unsafe {
        let addr = write_address(addr, bytes.len(), writes);
        object(addr).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
}

/// A number that looks random, and is the same for the same `seed` and `i`.
pub fn mix(seed: u64, i: u64) -> u64 {
    let mut x = seed ^ i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `len` bytes that look random, and are the same for the same `seed`.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8) as u64).flat_map(|i| mix(seed, i).to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}
