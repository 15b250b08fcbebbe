//! Checking a whole index, in time proportional to it. It trusts no sum that is stored: all are computed from the structures.

use crate::hash::{hash_bytes, mix};
use crate::index::{File, Index, file_digest, pair_digest};
use crate::table::Node;
use anyhow::{Result, ensure};

/// What an index turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// How many changes it has seen.
    pub generation: u64,
    /// The digest of what it holds.
    pub digest: u64,
    /// Its files.
    pub files: u32,
    /// Its words.
    pub words: u32,
    /// Its objects, the root among them.
    pub objects: u64,
}

impl Audit {
    /// Of an index in which nothing ever was.
    pub const EMPTY: Self = Self { generation: 0, digest: 0, files: 0, words: 0, objects: 0 };
}

/// What the postings say of one file.
#[derive(Clone, Default)]
struct Found {
    /// The last word that had a posting for the file.
    last_word: Option<u32>,
    tokens: u64,
    words: usize,
    /// A sum over the numbers of the words, to compare with that over the file's list.
    numbers: u64,
    pairs: u64,
}

impl Index<'_> {
    /// Checks T1 to T3 of both tables and X1 to X4.
    pub fn audit(&self) -> Result<Audit> {
        let tables = self.files.audit()? + self.words.audit()?;
        let (found, postings) = self.audit_words()?;
        let (mut digest, mut tokens, mut word_lists) = (0_u64, 0, 0);
        for (number, node) in self.files.iter() {
            let found = &found[number as usize];
            audit_file(node, found)?;
            let File { mtime_ns, size_bytes, words, .. } = &node.value;
            let path_hash = hash_bytes(node.key());
            digest = digest.wrapping_add(file_digest(path_hash, *mtime_ns, *size_bytes, found.pairs));
            tokens += found.tokens;
            word_lists += u64::from(words.capacity() > 0);
        }
        ensure!(tokens == self.tokens, "X3: {tokens} words in all files, not {}", self.tokens);
        ensure!(digest == self.digest, "X4: the digest of what is there is {digest:016x}, not {:016x}", self.digest);
        Ok(Audit {
            generation: self.generation,
            digest,
            files: self.files.len(),
            words: self.words.len(),
            objects: 1 + tables + postings + word_lists,
        })
    }

    /// What the postings say of each file, and how many objects they take.
    fn audit_words(&self) -> Result<(Vec<Found>, u64)> {
        let mut objects = 0;
        let mut found = vec![Found::default(); self.files.numbers() as usize];
        for (word, node) in self.words.iter() {
            let hash = hash_bytes(node.key());
            objects += node.value.objects();
            ensure!(node.value.len() > 0, "X2: word {word} has no posting");
            for posting in node.value.iter() {
                ensure!(self.files.get(posting.file).is_some(), "X1: a posting of word {word} has no file");
                ensure!(posting.count > 0, "X2: a posting of word {word} counts zero");
                let found = &mut found[posting.file as usize];
                ensure!(found.last_word.replace(word) != Some(word), "X1: word {word} has a posting twice");
                found.tokens += u64::from(posting.count);
                found.words += 1;
                found.numbers = found.numbers.wrapping_add(mix(u64::from(word)));
                found.pairs = found.pairs.wrapping_add(pair_digest(hash, posting.count));
            }
        }
        Ok((found, objects))
    }
}

/// Compares a file with what the postings say of it.
fn audit_file(node: &Node<'_, File<'_>>, found: &Found) -> Result<()> {
    let path = || String::from_utf8_lossy(node.key()).into_owned();
    let words = &node.value.words;
    let numbers = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(mix(u64::from(*word))));
    ensure!(words.len() == found.words, "X1: {} lists {} words, {} have postings", path(), words.len(), found.words);
    ensure!(numbers == found.numbers, "X1: {} lists other words than have postings for it", path());
    ensure!(node.value.tokens == found.tokens, "X3: {} has {} words, not {}", path(), found.tokens, node.value.tokens);
    Ok(())
}
