//! [`SlotMask`]: one bit for each slot of a frame.

use super::units::SlotIndex;

/// A set of the slots of one frame (at most 256).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotMask {
    words: [u64; 4],
}

impl SlotMask {
    /// No slot.
    pub const EMPTY: Self = Self { words: [0; 4] };

    /// The first `slots` slots.
    #[inline]
    pub fn first(slots: u16) -> Self {
        Self {
            words: std::array::from_fn(|i| {
                !(u64::MAX.checked_shl(u32::from(slots).saturating_sub(i as u32 * 64))).unwrap_or(0)
            }),
        }
    }

    /// The mask whose words are `words`, missing ones empty.
    ///
    /// # Panics
    /// If there are more than four words.
    #[inline]
    pub fn from_words(words: &[u64]) -> Self {
        let mut mask = Self::EMPTY;
        mask.words[..words.len()].copy_from_slice(words);
        mask
    }

    /// All four words.
    #[inline]
    pub fn words(&self) -> &[u64; 4] {
        &self.words
    }

    /// Adds `slot`.
    #[inline]
    pub fn insert(&mut self, slot: SlotIndex) {
        self.words[slot.index() / 64] |= 1 << (slot.index() % 64);
    }

    /// Whether `slot` is in the set.
    #[inline]
    pub fn contains(&self, slot: SlotIndex) -> bool {
        self.words[slot.index() / 64] & (1 << (slot.index() % 64)) != 0
    }

    /// Whether the set is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words == [0; 4]
    }

    /// How many slots are in the set.
    #[inline]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|w| w.count_ones()).sum()
    }

    /// The slots in both sets.
    #[inline]
    pub fn and(&self, other: &Self) -> Self {
        Self { words: std::array::from_fn(|i| self.words[i] & other.words[i]) }
    }

    /// The slots in either set.
    #[inline]
    pub fn or(&self, other: &Self) -> Self {
        Self { words: std::array::from_fn(|i| self.words[i] | other.words[i]) }
    }

    /// The slots of this set that are not in `other`.
    #[inline]
    pub fn minus(&self, other: &Self) -> Self {
        Self { words: std::array::from_fn(|i| self.words[i] & !other.words[i]) }
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = SlotIndex> + use<> {
        let words = self.words;
        (0..4).flat_map(move |i| {
            let mut rest = words[i];
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                Some(SlotIndex((i * 64) as u16 + bit as u16))
            })
        })
    }
}

impl FromIterator<SlotIndex> for SlotMask {
    fn from_iter<I: IntoIterator<Item = SlotIndex>>(slots: I) -> Self {
        let mut mask = Self::EMPTY;
        for slot in slots {
            mask.insert(slot);
        }
        mask
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn first_holds_exactly_that_many() {
        for n in [0, 1, 63, 64, 65, 128, 255, 256] {
            let mask = SlotMask::first(n);
            assert_eq!(mask.count(), u32::from(n));
            assert!(mask.iter().map(|s| s.0).eq(0..n));
        }
    }

    #[test]
    fn set_algebra() {
        let a: SlotMask = [1, 5, 200].map(SlotIndex).into_iter().collect();
        let b: SlotMask = (0..64).filter(|i| *i != 5).map(SlotIndex).collect();
        assert!(a.and(&b).iter().eq([SlotIndex(1)]));
        assert!(a.minus(&b).iter().eq([SlotIndex(5), SlotIndex(200)]));
        assert_eq!(a.or(&b).count(), 65);
        assert!(b.and(&SlotMask::first(6)).iter().eq((0..5).map(SlotIndex)));
    }
}
