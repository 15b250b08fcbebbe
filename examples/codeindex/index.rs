//! [`Index`]: words, postings and files, all as small objects of the heap, and nothing beside it.
//!
//! Invariants, all checked by [`Index::audit`](crate::index::Index::audit):
//! - X1. A file lists a word if and only if the word has a posting for the file; each at most once.
//! - X2. Every word has a posting, and no posting counts zero.
//! - X3. A file's `tokens` is the sum over its postings, and the index's `tokens` that over its files.
//! - X4. `digest` is what [`Index::audit`] computes from the structures alone.
//!
//! Each change of the index (a file put or removed) is one call, made within one section, so that every checkpoint holds whole files only. If a call fails
//! (the heap is full), the index is not to be used any more.

use crate::hash::{BuildFnv, mix_all};
use crate::postings::{Posting, Postings};
use crate::table::Table;
use crate::tokenize::Words;
use std::collections::HashMap;
use strewn::{PVec, Persist, Result, Section};

/// A file as it was when it was indexed; its path is its key in the table.
#[derive(Persist)]
pub struct File<'s> {
    /// When it was last modified, in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// How long it was.
    pub size_bytes: u64,
    /// How many words it has, each as often as it occurs.
    pub tokens: u64,
    /// The numbers of its words.
    pub words: PVec<'s, u32>,
}

impl<'s> File<'s> {
    /// A file of which nothing is known.
    fn new_in(section: &'s Section<'_>) -> Self {
        Self { mtime_ns: 0, size_bytes: 0, tokens: 0, words: PVec::new_in(section) }
    }
}

/// The root object: everything there is.
#[derive(Persist)]
pub struct Index<'s> {
    /// The files by path.
    pub files: Table<'s, File<'s>>,
    /// The words by text, each with its postings.
    pub words: Table<'s, Postings<'s>>,
    /// How many words all files have, each as often as it occurs.
    pub tokens: u64,
    /// How many changes the index has seen.
    pub generation: u64,
    /// The wrapping sum of `file_digest` over all files.
    pub digest: u64,
}

/// What is to be known of a file.
pub struct Contents<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// When it was last modified, in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// How long it is.
    pub size_bytes: u64,
    /// Its words.
    pub words: &'a Words,
}

/// What a file and its postings amount to in the index's digest. `pairs` is the wrapping sum of [`pair_digest`] over its words.
pub fn file_digest(path_hash: u64, mtime_ns: u64, size_bytes: u64, pairs: u64) -> u64 {
    mix_all(&[path_hash, mtime_ns, size_bytes, pairs])
}

/// What one word amounts to in the digest of a file.
pub fn pair_digest(word_hash: u64, count: u32) -> u64 {
    mix_all(&[word_hash, u64::from(count)])
}

impl<'s> Index<'s> {
    /// An empty index.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        let (files, words) = (Table::new_in(section), Table::new_in(section));
        Self { files, words, tokens: 0, generation: 0, digest: 0 }
    }

    /// Indexes a file, or indexes it anew, touching only the postings that changed.
    pub fn put(&mut self, contents: &Contents<'_>, section: &'s Section<'_>) -> Result<()> {
        let (number, known) = match self.files.find(contents.path) {
            Some(number) => (number, true),
            None => (self.files.insert(contents.path, File::new_in(section), section)?, false),
        };
        let wanted = self.intern(contents.words, section)?;
        let old = std::mem::replace(&mut self.files.node_mut(number).value, File::new_in(section));
        let path_hash = self.files.node(number).hash();
        let mut missing = wanted.iter().copied().collect();
        let old_pairs = self.settle_old(&old, number, &mut missing)?;
        if known {
            self.forget(&old, path_hash, old_pairs);
        }
        let mut fresh =
            File { mtime_ns: contents.mtime_ns, size_bytes: contents.size_bytes, tokens: 0, words: old.words };
        let mut pairs = 0_u64;
        fresh.words.clear();
        fresh.words.try_reserve(wanted.len())?;
        for (word, count) in wanted {
            let node = self.words.node(word);
            pairs = pairs.wrapping_add(pair_digest(node.hash(), count));
            if missing.contains_key(&word) {
                self.words.node_mut(word).value.push(Posting { file: number, count }, section)?;
            }
            fresh.words.try_push(word)?;
            fresh.tokens += u64::from(count);
        }
        self.tokens += fresh.tokens;
        self.digest = self.digest.wrapping_add(file_digest(path_hash, fresh.mtime_ns, fresh.size_bytes, pairs));
        self.generation += 1;
        self.files.node_mut(number).value = fresh;
        Ok(())
    }

    /// Removes the file that has `number`, with its postings. Panics if there is none.
    pub fn remove(&mut self, number: u32) -> Result<()> {
        let path_hash = self.files.node(number).hash();
        let old = self.files.remove(number)?;
        let old_pairs = self.settle_old(&old, number, &mut HashMap::default())?;
        self.forget(&old, path_hash, old_pairs);
        self.generation += 1;
        Ok(())
    }

    /// The numbers of `words`, new ones without postings so far, and the counts.
    fn intern(&mut self, words: &Words, section: &'s Section<'_>) -> Result<Vec<(u32, u32)>> {
        let number_of = |(word, count): &(Box<str>, u32)| {
            let number = match self.words.find(word.as_bytes()) {
                Some(number) => number,
                None => self.words.insert(word.as_bytes(), Postings::new_in(section), section)?,
            };
            Ok((number, *count))
        };
        words.iter().map(number_of).collect()
    }

    /// Makes the postings of `old`, the former state of file `number`, those that are `missing`: the words and counts to be. Takes from `missing` what is there;
    /// the rest remains to be added. Returns the former sum of pair digests.
    fn settle_old(&mut self, old: &File, number: u32, missing: &mut HashMap<u32, u32, BuildFnv>) -> Result<u64> {
        let mut pairs = 0_u64;
        for word in &old.words {
            let node = self.words.node(*word);
            let (at, count) = node.value.find(number).expect("X1: a listed word has the posting");
            let last = node.value.len() == 1;
            pairs = pairs.wrapping_add(pair_digest(node.hash(), count));
            match missing.remove(word) {
                Some(wanted) if wanted == count => {}
                Some(wanted) => self.words.node_mut(*word).value.get_mut(at).count = wanted,
                None if last => drop(self.words.remove(*word)?),
                None => self.words.node_mut(*word).value.swap_remove(at)?,
            }
        }
        Ok(pairs)
    }

    /// Takes a file's former state out of the sums.
    fn forget(&mut self, old: &File, path_hash: u64, pairs: u64) {
        self.tokens -= old.tokens;
        self.digest = self.digest.wrapping_sub(file_digest(path_hash, old.mtime_ns, old.size_bytes, pairs));
    }
}
