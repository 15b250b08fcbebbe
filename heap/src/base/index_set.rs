//! [`IndexSet`]: a set of frames, or of lane-blocks, that finds its members without looking at the gaps.

use super::units::{FrameIndex, Index, LaneBlock};
use std::marker::PhantomData;

/// A set of frames.
pub type FrameSet = IndexSet<FrameIndex>;
/// A set of lane-blocks.
pub type LaneBlockSet = IndexSet<LaneBlock>;

/// A growable two-level bit set: one bit an index, and one bit for each word that has a member.
///
/// Iterating costs O(members + capacity / 4096), which is what lets a checkpoint touch only what changed.
#[derive(Clone, Debug)]
pub struct IndexSet<I> {
    words: Vec<u64>,
    summary: Vec<u64>,
    members: usize,
    of: PhantomData<I>,
}

impl<I> Default for IndexSet<I> {
    fn default() -> Self {
        Self { words: Vec::new(), summary: Vec::new(), members: 0, of: PhantomData }
    }
}

impl<I: Index> IndexSet<I> {
    /// Adds `member`. Grows the set as needed. True if it was not a member before.
    #[inline]
    pub fn insert(&mut self, member: I) -> bool {
        let word = member.index() / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
            self.summary.resize(word / 64 + 1, 0);
        }
        let bit = 1 << (member.index() % 64);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.summary[word / 64] |= 1 << (word % 64);
        self.members += usize::from(fresh);
        fresh
    }

    /// Adds `members`, which are neighbours.
    pub fn insert_range(&mut self, members: std::ops::Range<usize>) {
        let mut at = members.start;
        while at < members.end {
            let (word, end) = (at / 64, members.end.min((at / 64 + 1) * 64));
            let bits = (u64::MAX >> (64 - (end - at))) << (at % 64);
            // Makes room, and sets the summary.
            self.insert(I::at(at));
            self.members += (bits & !self.words[word]).count_ones() as usize;
            self.words[word] |= bits;
            at = end;
        }
    }

    /// Removes `member`, if it is a member.
    #[inline]
    pub fn remove(&mut self, member: I) {
        let word = member.index() / 64;
        if let Some(bits) = self.words.get_mut(word) {
            let bit = 1 << (member.index() % 64);
            self.members -= usize::from(*bits & bit != 0);
            *bits &= !bit;
            if *bits == 0 {
                self.summary[word / 64] &= !(1 << (word % 64));
            }
        }
    }

    /// Whether `member` is a member.
    #[inline]
    pub fn contains(&self, member: I) -> bool {
        self.words.get(member.index() / 64).is_some_and(|w| w & (1 << (member.index() % 64)) != 0)
    }

    /// The lowest member.
    pub fn first(&self) -> Option<I> {
        self.next_at_or_after(I::at(0))
    }

    /// The lowest member that is not below `member`.
    pub fn next_at_or_after(&self, member: I) -> Option<I> {
        let word = member.index() / 64;
        let here = self.words.get(word)? & (u64::MAX << (member.index() % 64));
        if here != 0 {
            return Some(I::at(word * 64 + here.trailing_zeros() as usize));
        }
        let word = self.next_word(word + 1)?;
        Some(I::at(word * 64 + self.words[word].trailing_zeros() as usize))
    }

    /// The lowest index that is not below `from` and not a member.
    pub fn next_gap(&self, from: I) -> I {
        let mut word = from.index() / 64;
        let mut below = (1 << (from.index() % 64)) - 1;
        while let Some(bits) = self.words.get(word) {
            let ones = (bits | below).trailing_ones() as usize;
            if ones < 64 {
                return I::at(word * 64 + ones);
            }
            (word, below) = (word + 1, 0);
        }
        I::at(from.index().max(word * 64))
    }

    /// Members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = I> + '_ {
        let mut next = self.first();
        std::iter::from_fn(move || {
            let member = next?;
            next = self.next_at_or_after(I::at(member.index() + 1));
            Some(member)
        })
    }

    /// Adds every member of `other`.
    pub fn absorb(&mut self, other: &Self) {
        let mut from = 0;
        while let Some(word) = other.next_word(from) {
            if word >= self.words.len() {
                self.words.resize(word + 1, 0);
                self.summary.resize(word / 64 + 1, 0);
            }
            self.members += (other.words[word] & !self.words[word]).count_ones() as usize;
            self.words[word] |= other.words[word];
            self.summary[word / 64] |= 1 << (word % 64);
            from = word + 1;
        }
    }

    /// Removes every member, in O(members + capacity / 4096).
    pub fn clear(&mut self) {
        while let Some(word) = self.next_word(0) {
            self.words[word] = 0;
            self.summary[word / 64] &= !(1 << (word % 64));
        }
        self.members = 0;
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members
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

impl<I: Index> FromIterator<I> for IndexSet<I> {
    fn from_iter<T: IntoIterator<Item = I>>(members: T) -> Self {
        let mut set = Self::default();
        for member in members {
            set.insert(member);
        }
        set
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
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
            prop_assert_eq!(set.len(), model.len());
            for from in [0, 63, 64, 5000, 19_999, 30_000].into_iter().chain(model.iter().copied()) {
                let gap = (from..).find(|frame| !model.contains(frame)).unwrap();
                prop_assert_eq!(set.next_gap(FrameIndex(from)), FrameIndex(gap));
            }
            let mut range = set.clone();
            range.insert_range(60..200);
            prop_assert!(range.iter().map(|f| f.0).eq(model.union(&(60..200).collect()).copied()));
            prop_assert_eq!(range.len(), range.iter().count());
            let mut copy: FrameSet = [FrameIndex(7), FrameIndex(19_999)].into_iter().collect();
            model.extend([7, 19_999]);
            copy.absorb(&set);
            prop_assert!(copy.iter().map(|f| f.0).eq(model.iter().copied()));
            prop_assert_eq!(copy.len(), model.len());
            set.clear();
            prop_assert!(set.iter().next().is_none());
        }
    }
}
