//! Hashes that are stored in the heap, and therefore the same in every build: FNV-1a, and the finaliser of SplitMix64.

use std::hash::{BuildHasherDefault, Hasher};

/// Spreads what differs in `x` over all bits (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The hash of several numbers, in order.
pub fn mix_all(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, n| mix(hash ^ n).wrapping_add(*n))
}

/// The hash of `bytes`.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut fnv = Fnv::default();
    fnv.write(bytes);
    fnv.finish()
}

/// FNV-1a, mixed at the end so that the low bits serve as a bucket number.
pub struct Fnv(u64);

/// For `HashMap`: the same order in every run.
pub type BuildFnv = BuildHasherDefault<Fnv>;

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}
