//! Simulated storage: a disk in memory that remembers every operation, and what a crash may leave of it.
//!
//! [`volume`] knows what programs see, what the platter holds, and what is on its way; [`disk`] serves it to the store, records the operations and makes
//! them fail.

pub mod disk;
pub mod volume;

pub use disk::{Fault, SimDisk};
pub use volume::{Arrival, Fate, Op, Volume};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Random choices that a seed repeats.
#[derive(Clone, Debug)]
pub struct Coins(SmallRng);

impl Coins {
    /// The choices of this seed.
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0.random()
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end.max(1))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
