//! [`Opening`]: a number that tells one opening of a heap from every other, for what is in the heap and must be forgotten when it is opened again: the states of locks.

use crate::base::{END_ZONE, ZoneNumber};
use std::hash::{BuildHasher, Hasher, RandomState};
// Of std, in models too: no model looks at it, and it is static.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bits an opening has.
pub const OPENING_BITS: u32 = 40;
/// What is in no heap.
const NOWHERE: Opening = Opening(1);

/// By zone number: the opening of the heap that has the zone.
static OF_ZONE: [AtomicU64; END_ZONE as usize] = [const { AtomicU64::new(NOWHERE.0) }; END_ZONE as usize];

/// One opening of a heap. Never zero. Two openings in one process differ; two in different processes are equal with a probability of 2^-40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening(u64);

impl Opening {
    /// One that there was not before.
    pub fn new() -> Self {
        static FIRST: OnceLock<u64> = OnceLock::new();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let first = *FIRST.get_or_init(|| RandomState::new().build_hasher().finish());
        let most = (1 << OPENING_BITS) - 2;
        // Relaxed: only that no two get the same number matters.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(first.wrapping_add(count) % most + 2)
    }

    /// The number, below `1 << OPENING_BITS`.
    #[inline]
    pub fn number(self) -> u64 {
        self.0
    }

    /// What lies in zone `number` is of this opening from now on.
    pub fn claim(self, number: ZoneNumber) {
        // Relaxed: as for the owners of zones, whoever has an address in the zone got it, directly or not, from the thread that claimed it.
        OF_ZONE[number.index()].store(self.0, Ordering::Relaxed);
    }

    #[cfg(all(test, any(loom, shuttle)))]
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// The opening of the heap that `at` points into, on whichever thread; [`NOWHERE`] for what is in none. It stays the same for as long as something is there.
#[inline]
pub fn opening_at(at: *const u8) -> Opening {
    zone_of(at).and_then(|zone| OF_ZONE.get(zone)).map_or(NOWHERE, |opening| Opening(opening.load(Ordering::Relaxed)))
}

#[cfg(not(any(miri, strewn_twin)))]
#[inline]
fn zone_of(at: *const u8) -> Option<usize> {
    Some(at.addr() >> crate::base::ZONE_SHIFT)
}

#[cfg(any(miri, strewn_twin))]
fn zone_of(at: *const u8) -> Option<usize> {
    crate::sys::memory::zone_of(at)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn openings_differ_and_are_no_constant() {
        let all: std::collections::HashSet<u64> = (0..1000).map(|_| Opening::new().number()).collect();
        assert_eq!(all.len(), 1000);
        assert!(all.iter().all(|number| (2..1 << OPENING_BITS).contains(number)));
        let here = 0u8;
        assert_eq!(opening_at(&raw const here), NOWHERE);
    }
}
