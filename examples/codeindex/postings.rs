//! [`Postings`]: where a word occurs, in small arrays.
//!
//! Frequent words have thousands of postings. In one array each new posting would modify a page of it, and growing would modify all of it; in pieces it
//! modifies 256 bytes.

use strewn::{PBox, PVec, Persist, Result, Section};

/// How many postings a full piece holds.
const PIECE: usize = 32;

/// That a word occurs in a file, and how often.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Posting {
    /// The number of the file.
    pub file: u32,
    /// How often.
    pub count: u32,
}

// SAFETY: two numbers, `repr(C)`.
unsafe impl Persist for Posting {}

/// The postings of a word, in no order.
#[repr(C)]
#[derive(Default)]
pub struct Postings {
    full: PVec<PBox<[Posting; PIECE]>>,
    /// What fills no piece: not empty unless there is no posting at all.
    rest: PVec<Posting>,
}

// SAFETY: an array of boxes and an array, `repr(C)`.
unsafe impl Persist for Postings {}

impl Postings {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.full.len() * PIECE + self.rest.len()
    }

    /// All of them.
    pub fn iter<'a>(&'a self, section: &'a Section<'_>) -> impl Iterator<Item = &'a Posting> {
        let full = self.full.as_slice(section).iter().flat_map(|piece| piece.get(section));
        full.chain(self.rest.as_slice(section))
    }

    /// The place of the posting for `file`, and its count.
    pub fn find(&self, file: u32, section: &Section<'_>) -> Option<(usize, u32)> {
        self.iter(section).enumerate().find(|(_, p)| p.file == file).map(|(at, p)| (at, p.count))
    }

    /// The posting at place `at`, to change it. Panics if there is none.
    pub fn get_mut<'a>(&'a mut self, at: usize, section: &'a Section<'_>) -> &'a mut Posting {
        match at.checked_sub(self.full.len() * PIECE) {
            Some(at) => &mut self.rest.as_mut_slice(section)[at],
            None => &mut self.full.as_mut_slice(section)[at / PIECE].get_mut(section)[at % PIECE],
        }
    }

    /// Adds a posting.
    pub fn push(&mut self, posting: Posting, section: &Section<'_>) -> Result<()> {
        if let Ok(piece) = <[Posting; PIECE]>::try_from(self.rest.as_slice(section)) {
            self.full.push(PBox::new(piece, section)?, section)?;
            self.rest.clear();
        }
        self.rest.push(posting, section)
    }

    /// Removes the posting at place `at`; the last one takes its place. Panics if there is none.
    pub fn swap_remove(&mut self, at: usize, section: &Section<'_>) -> Result<()> {
        let last = self.rest.pop(section).expect("`rest` is empty only if all is");
        if at < self.len() {
            *self.get_mut(at, section) = last;
        }
        if self.rest.is_empty()
            && let Some(piece) = self.full.pop(section)
        {
            self.rest.extend_from_slice(&piece.into_inner(section), section)?;
        }
        Ok(())
    }

    /// Frees all of them.
    pub fn free(mut self, section: &Section<'_>) {
        while let Some(piece) = self.full.pop(section) {
            piece.free(section);
        }
        self.full.free(section);
        self.rest.free(section);
    }

    /// How many objects of the heap they take.
    pub fn objects(&self) -> u64 {
        let arrays = [self.full.capacity(), self.rest.capacity()].iter().filter(|capacity| **capacity > 0).count();
        (self.full.len() + arrays) as u64
    }
}
