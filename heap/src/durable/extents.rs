//! [`Extents`]: a set of pages, as stretches that neither overlap nor touch each other.
//!
//! Each call takes time in the logarithm of the stretches (and what it removes), however many pages it is about.

use std::collections::BTreeMap;
use std::ops::Range;

/// Stretches by their first page; the value is the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(BTreeMap<u32, u32>);

impl Extents {
    /// Adds pages; none of them may be there.
    pub fn insert(&mut self, pages: Range<u32>) {
        debug_assert!(!pages.is_empty());
        let Range { mut start, mut end } = pages;
        if let Some((before, _)) = self.0.range(..start).next_back().filter(|(_, end)| **end == start) {
            start = *before;
        }
        if let Some(after) = self.0.remove(&end) {
            end = after;
        }
        self.0.insert(start, end);
    }

    /// Takes pages out; all of them must be there.
    pub fn remove(&mut self, pages: Range<u32>) {
        let Some((start, end)) = self.around(pages.start) else { return };
        debug_assert!(pages.end <= end && !pages.is_empty());
        self.0.remove(&start);
        for left in [start..pages.start, pages.end..end] {
            if !left.is_empty() {
                self.0.insert(left.start, left.end);
            }
        }
    }

    /// The first of `pages` that is not there.
    pub fn first_missing(&self, pages: Range<u32>) -> Option<u32> {
        let covered = self.around(pages.start).map_or(pages.start, |(_, end)| end);
        (covered < pages.end).then_some(covered)
    }

    fn around(&self, page: u32) -> Option<(u32, u32)> {
        self.0.range(..=page).next_back().map(|(start, end)| (*start, *end)).filter(|(_, end)| *end > page)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGES: u32 = 40;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_pages(steps in prop::collection::vec((0..PAGES, 1..9u32), 1..200)) {
            let (mut extents, mut set) = (Extents::default(), [false; PAGES as usize + 9]);
            for (first, count) in steps {
                let pages = first..first + count;
                let slots = &mut set[first as usize..(first + count) as usize];
                match slots.iter().filter(|there| **there).count() as u32 {
                    0 => extents.insert(pages.clone()),
                    all if all == count => extents.remove(pages.clone()),
                    _ => continue,
                }
                slots.iter_mut().for_each(|there| *there = !*there);
                for page in 0..PAGES {
                    let missing = (page..PAGES).find(|page| !set[*page as usize]);
                    prop_assert_eq!(extents.first_missing(page..PAGES), missing);
                }
                prop_assert!(extents.0.iter().zip(extents.0.iter().skip(1)).all(|((_, end), (start, _))| end < start));
            }
        }
    }
}
