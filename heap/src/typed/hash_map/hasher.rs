//! [`PBuildHasher`]: hashes that are the same in every process and every build, and the seeds for them.
//!
//! The hash of a key decides where in a table it lies, so what computes it is part of a heap's format. That rules out `foldhash`, whose documentation promises no
//! consistent output across versions or platforms. The functions of `rapidhash::v3` are specified and do not change. Only they are used here, not the `Hasher` of that
//! crate, which may change; what this module does with them is fixed by a test with known hashes, and has a version in the description of the type.

use crate::base::{Epoch, Result};
use crate::options::SEEDED;
use crate::section::Section;
use crate::typed::{Persist, Schema, Walker};
use rapidhash::v3::{DEFAULT_RAPID_SECRETS, RapidSecrets, rapidhash_v3_inline};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is hashed one after the other is hashed with the hash so far as its seed.
const VERSION: u32 = 1;

/// Makes the hashers of [`PHashMap`](crate::PHashMap) and [`PHashSet`](crate::PHashSet), unless they are told to use another.
///
/// Holds a seed, which is stored with the map. Each map has its own: random, so that who chooses keys cannot know which ones collide; or, in a heap that was created with
/// [`HeapOptions::seed`](crate::HeapOptions::seed), the next one in an order that is the same on every run. The hash is no cryptographic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct PBuildHasher {
    seed: u64,
}

impl PBuildHasher {
    /// A hasher with a seed of its own, for a map in the heap of `section`.
    pub fn new_in(section: &Section<'_>) -> Self {
        Self::with_seed(section.engine().seeds.next())
    }

    /// A hasher with this seed.
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed }
    }
}

impl BuildHasher for PBuildHasher {
    type Hasher = PHasher;

    #[inline]
    fn build_hasher(&self) -> PHasher {
        PHasher { state: self.seed }
    }
}

// SAFETY: a number, of which all bytes are valid.
unsafe impl Persist for PBuildHasher {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        format!("PBuildHasher/v{VERSION}")
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

/// Hashes one key for a [`PBuildHasher`].
#[derive(Clone, Debug)]
pub struct PHasher {
    state: u64,
}

impl PHasher {
    /// One multiplication: enough for numbers, of which both halves of the product are used.
    #[inline(always)]
    fn number(&mut self, number: u64) {
        let secrets = RapidSecrets { seed: self.state, secrets: DEFAULT_RAPID_SECRETS.secrets };
        self.state = rapidhash_v3_inline::<false, false, false>(&number.to_le_bytes(), &secrets);
    }
}

/// Signed numbers are written as unsigned ones by default.
impl Hasher for PHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let secrets = RapidSecrets { seed: self.state, secrets: DEFAULT_RAPID_SECRETS.secrets };
        self.state = rapidhash_v3_inline::<true, false, false>(bytes, &secrets);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.number(number.into());
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.number(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.number(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.number(number as u64);
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.number(number as u64);
        self.number((number >> 64) as u64);
    }
}

/// Where the maps of a heap get their seeds from.
pub struct Seeds {
    heap_id: [u8; 16],
    /// Counts from the epoch at which the heap was opened, in the upper half: so a later process does not begin again.
    next: AtomicU64,
}

impl Seeds {
    /// Those of the heap `heap_id`, which was opened as of `epoch`.
    pub fn new(heap_id: [u8; 16], epoch: Epoch) -> Self {
        Self { heap_id, next: AtomicU64::new(epoch.0 << 32) }
    }

    fn next(&self) -> u64 {
        // Relaxed: nothing but the number matters.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.heap_id[8..] == SEEDED {
            PBuildHasher::with_seed(number).hash_one(self.heap_id)
        } else {
            // The keys of the standard library's hasher are the random numbers here.
            RandomState::new().hash_one((self.heap_id, number))
        }
    }
}
