//! [`Index`]: words, postings and files, all as objects of the heap, and nothing beside it.
//!
//! Invariants, all checked by [`Index::audit`](crate::index::Index::audit):
//! - X1. A file lists a word if and only if the word has a posting for the file; each at most once.
//! - X2. Every word has a posting, and no posting counts zero.
//! - X3. A file's `tokens` is the sum over its postings, and the index's `tokens` that over its files.
//! - X4. `digest` is what [`Index::audit`] computes from the structures alone.
//! - X5. `numbers` leads from each file's path to the file, and nowhere else.
//!
//! The maps are trees, because a checkpoint copies what changed: of a tree one node of 512 bytes for a new word, of a hash table, which is one large object, a page of 4 KiB. With a
//! `PHashMap` of words, indexing modified twice the bytes, in half the processor time.
//!
//! Each change of the index (a file put or removed) is one call, made within one section, so that every checkpoint holds whole files only. If the heap is full, it
//! panics, and the heap refuses checkpoints from then on.

use crate::hash::{hash_bytes, mix_all};
use crate::postings::{Posting, Postings};
use crate::tokenize::Words;
use std::collections::HashMap;
use strewn::{PBTreeMap, PBox, PString, PVec, Persist, Section};

/// A file as it was when it was indexed.
#[derive(Persist)]
pub struct File<'s> {
    /// Its path.
    pub path: PVec<'s, u8>,
    /// When it was last modified, in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// How long it was.
    pub size_bytes: u64,
    /// How many words it has, each as often as it occurs.
    pub tokens: u64,
    /// Its words, each once, with spaces between.
    pub words: PString<'s>,
}

/// The root object: everything there is.
#[derive(Persist)]
pub struct Index<'s> {
    /// The files by number. Numbers of files that were removed are given to others.
    pub files: PVec<'s, Option<PBox<'s, File<'s>>>>,
    /// The numbers by path.
    pub numbers: PBTreeMap<'s, PVec<'s, u8>, u32>,
    /// The postings by word. Each in an object of its own: a map's nodes are not modified by what happens in boxes.
    pub words: PBTreeMap<'s, PString<'s>, PBox<'s, Postings<'s>>>,
    /// How many words all files have, each as often as it occurs.
    pub tokens: u64,
    /// How many changes the index has seen.
    pub generation: u64,
    /// The wrapping sum of the digests of all files.
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

/// What one word amounts to in the digest of a file.
pub fn pair_digest(word: &str, count: u32) -> u64 {
    mix_all(&[hash_bytes(word.as_bytes()), count.into()])
}

impl File<'_> {
    /// What the file and its postings amount to in the index's digest. `pairs` is the wrapping sum of [`pair_digest`] over its words.
    pub fn digest(&self, pairs: u64) -> u64 {
        mix_all(&[hash_bytes(&self.path), self.mtime_ns, self.size_bytes, pairs])
    }

    /// Its words, each once.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.split_ascii_whitespace()
    }
}

impl<'s> Index<'s> {
    /// An empty index.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        let (files, numbers, words) = (PVec::new_in(section), PBTreeMap::new_in(section), PBTreeMap::new_in(section));
        Self { files, numbers, words, tokens: 0, generation: 0, digest: 0 }
    }

    /// The file that has `number`, if there is one.
    pub fn file(&self, number: u32) -> Option<&File<'s>> {
        self.files.get(number as usize)?.as_deref()
    }

    /// Indexes a file, or indexes it anew, touching only the postings that changed.
    pub fn put(&mut self, contents: &Contents<'_>, section: &'s Section<'_>) {
        let Contents { path, mtime_ns, size_bytes, words } = *contents;
        let number = self.number_for(path, section);
        let mut missing: HashMap<&str, u32> = words.iter().map(|(word, count)| (&**word, *count)).collect();
        self.take_out(number, &mut missing);
        let (path, words_text) = (PVec::from_slice_in(path, section), PString::new_in(section));
        let mut file = File { path, mtime_ns, size_bytes, tokens: 0, words: words_text };
        let mut pairs = 0_u64;
        for (word, count) in words {
            if missing.contains_key(&**word) {
                self.add_posting(word, Posting { file: number, count: *count }, section);
            }
            pairs = pairs.wrapping_add(pair_digest(word, *count));
            file.tokens += u64::from(*count);
            file.words.extend([word, " "]);
        }
        file.words.shrink_to_fit();
        self.tokens += file.tokens;
        self.digest = self.digest.wrapping_add(file.digest(pairs));
        self.generation += 1;
        self.files[number as usize] = Some(PBox::new_in(file, section));
    }

    /// Removes the file that has `number`, with its postings. Panics if there is none.
    pub fn remove(&mut self, number: u32) {
        let file = self.take_out(number, &mut HashMap::new()).expect("the number of a file");
        self.numbers.remove(&*file.path);
        self.generation += 1;
    }

    /// The number of the file at `path`, or a new one.
    fn number_for(&mut self, path: &[u8], section: &'s Section<'_>) -> u32 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let is_one_free = self.numbers.len() < self.files.len();
        let number = is_one_free.then(|| self.files.iter().position(Option::is_none)).flatten();
        let number = number.unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        let number = u32::try_from(number).expect("an index has fewer than 2^32 files");
        self.numbers.insert(PVec::from_slice_in(path, section), number);
        number
    }

    /// Adds a posting of `word`, which may be new.
    fn add_posting(&mut self, word: &str, posting: Posting, section: &'s Section<'_>) {
        if let Some(postings) = self.words.get_mut(word) {
            return postings.push(posting, section);
        }
        let mut postings = Postings::new_in(section);
        postings.push(posting, section);
        self.words.insert(PString::from_str_in(word, section), PBox::new_in(postings, section));
    }

    /// Takes out the file that has `number`, if there is one, and takes it off the sums. Makes its postings those that are `missing`: the words and counts to be. Takes
    /// from `missing` what is there; the rest remains to be added.
    fn take_out(&mut self, number: u32, missing: &mut HashMap<&str, u32>) -> Option<PBox<'s, File<'s>>> {
        let old = self.files[number as usize].take()?;
        let mut pairs = 0_u64;
        for word in old.words() {
            let postings = self.words.get_mut(word).expect("X1: a listed word is there");
            let (at, count) = postings.find(number).expect("X1: a listed word has the posting");
            pairs = pairs.wrapping_add(pair_digest(word, count));
            match missing.remove(word) {
                Some(wanted) if wanted == count => {}
                Some(wanted) => postings.get_mut(at).count = wanted,
                None if postings.len() == 1 => drop(self.words.remove(word)),
                None => postings.swap_remove(at),
            }
        }
        self.tokens -= old.tokens;
        self.digest = self.digest.wrapping_sub(old.digest(pairs));
        Some(old)
    }
}
