//! [`FrameSet`]: a set of frames that finds its members without looking at the gaps.

use super::units::FrameIndex;

/// A growable two-level bit set: one bit a frame, and one bit for each word that has a member.
///
/// Iterating costs O(members + capacity / 4096), which is what lets a checkpoint touch only what changed.
#[derive(Clone, Debug, Default)]
pub struct FrameSet {
    words: Vec<u64>,
    summary: Vec<u64>,
}

impl FrameSet {
    /// Adds `frame`. Grows the set as needed. True if it was not a member before.
    #[inline]
    pub fn insert(&mut self, frame: FrameIndex) -> bool {
        let word = frame.index() / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
            self.summary.resize(word / 64 + 1, 0);
        }
        let bit = 1 << (frame.index() % 64);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.summary[word / 64] |= 1 << (word % 64);
        fresh
    }

    /// Removes `frame`, if it is a member.
    #[inline]
    pub fn remove(&mut self, frame: FrameIndex) {
        let word = frame.index() / 64;
        if let Some(bits) = self.words.get_mut(word) {
            *bits &= !(1 << (frame.index() % 64));
            if *bits == 0 {
                self.summary[word / 64] &= !(1 << (word % 64));
            }
        }
    }

    /// Whether `frame` is a member.
    #[inline]
    pub fn contains(&self, frame: FrameIndex) -> bool {
        self.words.get(frame.index() / 64).is_some_and(|w| w & (1 << (frame.index() % 64)) != 0)
    }

    /// The lowest member.
    pub fn first(&self) -> Option<FrameIndex> {
        self.next_at_or_after(FrameIndex(0))
    }

    /// The lowest member that is not below `frame`.
    pub fn next_at_or_after(&self, frame: FrameIndex) -> Option<FrameIndex> {
        let word = frame.index() / 64;
        let here = self.words.get(word)? & (u64::MAX << (frame.index() % 64));
        if here != 0 {
            return Some(FrameIndex((word * 64) as u32 + here.trailing_zeros()));
        }
        let word = self.next_word(word + 1)?;
        Some(FrameIndex((word * 64) as u32 + self.words[word].trailing_zeros()))
    }

    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = FrameIndex> + '_ {
        let mut next = self.first();
        std::iter::from_fn(move || {
            let frame = next?;
            next = self.next_at_or_after(FrameIndex(frame.0 + 1));
            Some(frame)
        })
    }

    /// Adds every member of `other`.
    pub fn absorb(&mut self, other: &Self) {
        for frame in other.iter() {
            self.insert(frame);
        }
    }

    /// Removes every member, in O(members + capacity / 4096).
    pub fn clear(&mut self) {
        while let Some(word) = self.next_word(0) {
            self.words[word] = 0;
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    /// Bytes of memory that the set takes.
    pub fn memory_bytes(&self) -> usize {
        (self.words.capacity() + self.summary.capacity()) * 8
    }

    /// The first word with a member, not below `word`.
    fn next_word(&self, word: usize) -> Option<usize> {
        let mut i = word / 64;
        let mut bits = self.summary.get(i)? & (u64::MAX << (word % 64));
        while bits == 0 {
            i += 1;
            bits = *self.summary.get(i)?;
        }
        Some(i * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_btree_set(ops in prop::collection::vec((0u32..20_000, any::<bool>()), 0..300)) {
            let (mut set, mut model) = (FrameSet::default(), BTreeSet::new());
            for (frame, insert) in ops {
                if insert {
                    prop_assert_eq!(set.insert(FrameIndex(frame)), model.insert(frame));
                } else {
                    set.remove(FrameIndex(frame));
                    model.remove(&frame);
                }
                prop_assert_eq!(set.contains(FrameIndex(frame)), insert);
            }
            prop_assert!(set.iter().map(|f| f.0).eq(model.iter().copied()));
            prop_assert_eq!(set.first().map(|f| f.0), model.first().copied());
            let mut copy = FrameSet::default();
            copy.absorb(&set);
            prop_assert!(copy.iter().eq(set.iter()));
            set.clear();
            prop_assert!(set.iter().next().is_none());
        }
    }
}
