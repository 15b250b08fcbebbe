//! [`Postings`]: where a word occurs, in small arrays.
//!
//! Frequent words have thousands of postings. In one array each new posting would modify a page of it, and growing would modify all of it; in pieces it
//! modifies 256 bytes.

use std::mem::offset_of;
use strewn::derive_support::{Schema, Walker};
use strewn::{PBox, PVec, Persist, Result, Section};

/// How many postings a full piece holds.
const PIECE: usize = 32;

/// That a word occurs in a file, and how often.
#[derive(Clone, Copy)]
pub struct Posting {
    /// The number of the file.
    pub file: u32,
    /// How often.
    pub count: u32,
}

// SAFETY: two numbers, both described, which any bytes are.
unsafe impl Persist for Posting {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Posting", 1, &[], |fields| {
            fields.field::<u32>("file", offset_of!(Self, file));
            fields.field::<u32>("count", offset_of!(Self, count));
        })
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

/// The postings of a word, in no order.
pub struct Postings<'s> {
    full: PVec<'s, PBox<'s, [Posting; PIECE]>>,
    /// What fills no piece: not empty unless there is no posting at all.
    rest: PVec<'s, Posting>,
}

// SAFETY: every field is Persist, described, and walked.
unsafe impl Persist for Postings<'_> {
    type In<'s> = Postings<'s>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        schema.define::<Self>("Postings", 1, &[], |fields| {
            fields.field::<PVec<PBox<[Posting; PIECE]>>>("full", offset_of!(Self, full));
            fields.field::<PVec<Posting>>("rest", offset_of!(Self, rest));
        })
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: each field lies within the value, which is as the contract says.
        unsafe {
            PVec::walk(&raw mut (*this).full, walker)?;
            PVec::walk(&raw mut (*this).rest, walker)
        }
    }
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
    pub fn push(&mut self, posting: Posting, section: &'s Section<'_>) -> Result<()> {
        if let Ok(piece) = <[Posting; PIECE]>::try_from(&*self.rest) {
            self.full.try_push(PBox::try_new_in(piece, section)?)?;
            self.rest.clear();
        }
        self.rest.try_push(posting)
    }

    /// Removes the posting at place `at`; the last one takes its place. Panics if there is none.
    pub fn swap_remove(&mut self, at: usize) -> Result<()> {
        let last = self.rest.pop().expect("`rest` is empty only if all is");
        if at < self.len() {
            *self.get_mut(at) = last;
        }
        if self.rest.is_empty()
            && let Some(piece) = self.full.pop()
        {
            self.rest.try_extend_from_slice(&*piece)?;
        }
        Ok(())
    }

    /// How many objects of the heap they take.
    pub fn objects(&self) -> u64 {
        let arrays = [self.full.capacity(), self.rest.capacity()].iter().filter(|capacity| **capacity > 0).count();
        (self.full.len() + arrays) as u64
    }
}
