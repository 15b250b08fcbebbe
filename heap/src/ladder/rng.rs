//! [`Rng`]: numbers that look random and are the same in every run, so that the same writes get the same rungs.

/// A sequence of 64-bit numbers (splitmix64, after Vigna). Not for secrets.
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, each about as likely; 0 if `end` is 0.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: unlike a remainder it needs no division.
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn gives_the_numbers_of_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!([rng.bits(), rng.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn stays_below_the_end_and_reaches_all_below_it() {
        let mut rng = Rng::new(0);
        let mut times = [0; 10];
        (0..1000).for_each(|_| times[rng.below(10) as usize] += 1);
        assert!(times.iter().all(|&n| (50..150).contains(&n)), "{times:?}");
        assert_eq!((rng.below(1), rng.below(0)), (0, 0));
    }
}
