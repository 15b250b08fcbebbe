//! [`Postings`]: where a word occurs, in small arrays.
//!
//! Frequent words have thousands of postings. In one array each new posting would modify a page of it, and growing would modify all of it; in pieces it
//! modifies 256 bytes.

use strewn::{PBox, PVec, Persist, Section};

/// How many postings a full piece holds.
const PIECE: usize = 32;

/// That a word occurs in a file, and how often.
#[derive(Clone, Copy, Persist)]
pub struct Posting {
    /// The number of the file.
    pub file: u32,
    /// How often.
    pub count: u32,
}

/// The postings of a word, in no order.
#[derive(Persist)]
pub struct Postings<'s> {
    full: PVec<'s, PBox<'s, [Posting; PIECE]>>,
    /// What fills no piece: not empty unless there is no posting at all.
    rest: PVec<'s, Posting>,
}

impl<'s> Postings<'s> {
    /// None.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { full: PVec::new_in(section), rest: PVec::new_in(section) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.full.len() * PIECE + self.rest.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Posting> {
        self.full.iter().flat_map(|piece| piece.iter()).chain(&self.rest)
    }

    /// The place of the posting for `file`, and its count.
    pub fn find(&self, file: u32) -> Option<(usize, u32)> {
        self.iter().enumerate().find(|(_, p)| p.file == file).map(|(at, p)| (at, p.count))
    }

    /// The posting at place `at`, to change it. Panics if there is none.
    pub fn get_mut(&mut self, at: usize) -> &mut Posting {
        match at.checked_sub(self.full.len() * PIECE) {
            Some(at) => &mut self.rest[at],
            None => &mut self.full[at / PIECE][at % PIECE],
        }
    }

    /// Adds a posting.
    pub fn push(&mut self, posting: Posting, section: &'s Section<'_>) {
        if let Ok(piece) = <[Posting; PIECE]>::try_from(&*self.rest) {
            self.full.push(PBox::new_in(piece, section));
            self.rest.clear();
        }
        self.rest.push(posting);
    }

    /// Removes the posting at place `at`; the last one takes its place. Panics if there is none.
    pub fn swap_remove(&mut self, at: usize) {
        let last = self.rest.pop().expect("`rest` is empty only if all is");
        if at < self.len() {
            *self.get_mut(at) = last;
        }
        if self.rest.is_empty()
            && let Some(piece) = self.full.pop()
        {
            self.rest.extend(*piece);
        }
    }
}
