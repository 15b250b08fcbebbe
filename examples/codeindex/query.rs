//! Answering a query from the heap: the files that have all the words, best first.

use crate::index::Index;
use crate::store::Store;
use crate::tokenize::query_words;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use strewn::Heap;

/// The constants of Okapi BM25 (Robertson and Zaragoza, 2009), as most use them.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Prints the best `limit` files that have all of `words`. The exit code is 1 if there is none.
pub fn run(path: &Path, words: &[String], limit: usize) -> Result<ExitCode> {
    let words: Vec<String> = words.iter().flat_map(|word| query_words(word)).collect();
    ensure!(!words.is_empty(), "no word to look for: words have 2 to 40 letters, and do not begin with a digit");
    let opening = Instant::now();
    let heap = Heap::open(path).with_context(|| format!("no index at {}: make one first", path.display()))?;
    let store = Store::open(&heap)?.with_context(|| format!("{} holds no index", path.display()))?;
    let opened = opening.elapsed();
    let (found, asked) = store.read(|index| {
        let asking = Instant::now();
        let ranked = ranked(index, &words);
        let best = ranked.iter().take(limit);
        for (file, score) in best {
            println!(
                "{score:8.3}  {}",
                String::from_utf8_lossy(&index.file(*file).expect("X1: a posting has a file").path)
            );
        }
        (ranked.len(), asking.elapsed())
    })?;
    if found == 0 {
        eprintln!("no match");
        return Ok(ExitCode::from(1));
    }
    eprintln!("{} of {found} files; opened in {opened:.1?}, answered in {asked:.1?}", limit.min(found));
    Ok(ExitCode::SUCCESS)
}

/// The files that have all of `words`, with their scores, best first.
fn ranked(index: &Index<'_>, words: &[String]) -> Vec<(u32, f64)> {
    let mut scores: Option<HashMap<u32, f64>> = None;
    for word in words {
        let Some(postings) = index.words.get(word.as_str()) else { return Vec::new() };
        let files = index.numbers.len() as f64;
        let with_word = postings.len() as f64;
        let rarity = (1.0 + (files - with_word + 0.5) / (with_word + 0.5)).ln();
        let length_mean = index.tokens as f64 / files;
        let score = |file: u32, count: u32| {
            let length = index.file(file).expect("X1: a posting has a file").tokens as f64 / length_mean;
            let count = f64::from(count);
            rarity * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length))
        };
        let both = postings.iter().filter_map(|posting| {
            let so_far = scores.as_ref().map_or(Some(0.0), |scores| scores.get(&posting.file).copied())?;
            Some((posting.file, so_far + score(posting.file, posting.count)))
        });
        scores = Some(both.collect());
    }
    let mut ranked: Vec<(u32, f64)> = scores.unwrap_or_default().into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}
