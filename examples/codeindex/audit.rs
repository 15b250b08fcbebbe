//! Checking a whole index, in time proportional to it. It trusts no sum that is stored: all are computed from the structures.

use crate::hash::{hash_bytes, mix_all};
use crate::index::{File, Index, pair_digest};
use anyhow::{Result, ensure};

/// What an index turned out to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many changes it has seen.
    pub generation: u64,
    /// The digest of what it holds.
    pub digest: u64,
    /// Its files.
    pub files: usize,
    /// Its words.
    pub words: usize,
}

/// What the postings say of one file.
#[derive(Clone, Default)]
struct Found {
    /// The last word that had a posting for the file.
    last_word: Option<usize>,
    tokens: u64,
    /// How many words, and a sum over them to compare with that over the file's list.
    words: (usize, u64),
    pairs: u64,
}

/// Adds `word` to a count and a sum of words.
fn add((count, sum): (usize, u64), word: &str) -> (usize, u64) {
    (count + 1, sum.wrapping_add(mix_all(&[hash_bytes(word.as_bytes())])))
}

impl Index<'_> {
    /// Checks X1 to X5.
    pub fn audit(&self) -> Result<Audit> {
        let found = self.audit_words()?;
        let (mut digest, mut tokens, mut files) = (0_u64, 0, 0);
        for (number, found) in (0..).zip(&found) {
            let Some(file) = self.file(number) else { continue };
            let path = String::from_utf8_lossy(&file.path);
            audit_file(file, found, &path)?;
            ensure!(self.numbers.get(&*file.path) == Some(&number), "X5: {path} does not lead to file {number}");
            digest = digest.wrapping_add(file.digest(found.pairs));
            tokens += found.tokens;
            files += 1;
        }
        ensure!(tokens == self.tokens, "X3: {tokens} words in all files, not {}", self.tokens);
        ensure!(digest == self.digest, "X4: the digest of what is there is {digest:016x}, not {:016x}", self.digest);
        ensure!(files == self.numbers.len(), "X5: {files} files at {} paths", self.numbers.len());
        Ok(Audit { generation: self.generation, digest, files, words: self.words.len() })
    }

    /// What the postings say of each file.
    fn audit_words(&self) -> Result<Vec<Found>> {
        let mut found = vec![Found::default(); self.files.len()];
        for (number, (word, postings)) in self.words.iter().enumerate() {
            ensure!(postings.len() > 0, "X2: `{word}` has no posting");
            for posting in postings.iter() {
                ensure!(self.file(posting.file).is_some(), "X1: a posting of `{word}` has no file");
                ensure!(posting.count > 0, "X2: a posting of `{word}` counts zero");
                let found = &mut found[posting.file as usize];
                ensure!(found.last_word.replace(number) != Some(number), "X1: `{word}` has a posting twice");
                found.tokens += u64::from(posting.count);
                found.words = add(found.words, word);
                found.pairs = found.pairs.wrapping_add(pair_digest(word, posting.count));
            }
        }
        Ok(found)
    }
}

/// Compares a file with what the postings say of it.
fn audit_file(file: &File<'_>, found: &Found, path: &str) -> Result<()> {
    let listed = file.words().fold((0, 0), add);
    ensure!(listed.0 == found.words.0, "X1: {path} lists {} words, {} have postings", listed.0, found.words.0);
    ensure!(listed == found.words, "X1: {path} lists other words than have postings for it");
    ensure!(file.tokens == found.tokens, "X3: {path} has {} words, not {}", found.tokens, file.tokens);
    Ok(())
}
