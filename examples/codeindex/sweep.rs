//! [`sweep`]: bringing an index up to date with the files that a walk found, one file a section.
//!
//! One thread reads files and takes them apart; the caller's thread puts the words into the index.

use crate::index::Contents;
use crate::store::{Observer, Store};
use crate::tokenize::{Words, words_of};
use crate::walk::{Candidate, Walk};
use anyhow::Result;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;

/// How many files are compared in one section.
const FILES_A_SECTION: usize = 256;
/// How many files may wait, taken apart, to be indexed.
const FILES_WAITING: usize = 32;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that were not in the index.
    pub added: u64,
    /// Files whose size or time had changed.
    pub changed: u64,
    /// Files that had not changed.
    pub unchanged: u64,
    /// Files that were in the index and are no more (or are no text any more, or too large).
    pub removed: u64,
    /// Files that are no text.
    pub binary: u64,
    /// Files that could not be read.
    pub unreadable: u64,
    /// Bytes of the files that were added or changed.
    pub source_bytes: u64,
}

/// What is to be done.
#[derive(Default)]
struct Plan<'w> {
    /// Files to index, with the numbers of those that are in the index already.
    todo: Vec<(&'w Candidate, Option<u32>)>,
    unchanged: u64,
    /// The numbers of files that are gone.
    gone: Vec<u32>,
}

enum Outcome {
    Words(Words),
    Binary,
    Unreadable,
}

/// Brings the index up to date: files that changed are indexed anew, and those below the walk's directories that are gone are removed.
pub fn sweep(store: &mut Store<'_>, walk: &Walk, observer: &mut impl Observer) -> Result<Tally> {
    let plan = plan(store, walk)?;
    let mut tally = Tally { unchanged: plan.unchanged, ..Tally::default() };
    for number in plan.gone {
        store.edit(observer, |index, _| index.remove(number))?;
        tally.removed += 1;
    }
    observer.expect(plan.todo.len() as u64);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(FILES_WAITING);
        scope.spawn(move || {
            for (candidate, known) in plan.todo {
                if sender.send((candidate, known, take_apart(&candidate.path))).is_err() {
                    break; // The other side has failed, and says why.
                }
            }
        });
        for (candidate, known, outcome) in receiver {
            settle(store, observer, &mut tally, (candidate, known), outcome)?;
            observer.done();
        }
        Ok(tally)
    })
}

/// Compares what the walk found with what the index holds.
fn plan<'w>(store: &Store<'_>, walk: &'w Walk) -> Result<Plan<'w>> {
    let mut plan = Plan::default();
    let numbers = store.read(|index| index.files.len())?;
    let mut seen = vec![false; numbers];
    for files in walk.files.chunks(FILES_A_SECTION) {
        store.read(|index| {
            for candidate in files {
                let known = index.numbers.get(candidate.path.as_os_str().as_bytes()).copied();
                let file = known.and_then(|number| index.file(number));
                let same = file
                    .is_some_and(|file| (file.mtime_ns, file.size_bytes) == (candidate.mtime_ns, candidate.size_bytes));
                if let Some(number) = known {
                    seen[number as usize] = true;
                }
                if same {
                    plan.unchanged += 1;
                } else {
                    plan.todo.push((candidate, known));
                }
            }
        })?;
    }
    let unseen: Vec<u32> = (0..).zip(seen).filter_map(|(number, seen)| (!seen).then_some(number)).collect();
    for numbers in unseen.chunks(FILES_A_SECTION) {
        store.read(|index| {
            plan.gone.extend(
                numbers
                    .iter()
                    .filter(|number| index.file(**number).is_some_and(|file| is_below(&walk.roots, &file.path))),
            );
        })?;
    }
    Ok(plan)
}

fn is_below(roots: &[impl AsRef<Path>], path: &[u8]) -> bool {
    roots.iter().any(|root| Path::new(OsStr::from_bytes(path)).starts_with(root))
}

fn take_apart(path: &Path) -> Outcome {
    match std::fs::read(path) {
        Ok(text) => words_of(&text).map_or(Outcome::Binary, Outcome::Words),
        Err(_) => Outcome::Unreadable,
    }
}

fn settle(
    store: &mut Store<'_>,
    observer: &mut impl Observer,
    tally: &mut Tally,
    (candidate, known): (&Candidate, Option<u32>),
    outcome: Outcome,
) -> Result<()> {
    let words = match outcome {
        Outcome::Words(words) => words,
        Outcome::Binary | Outcome::Unreadable => {
            let count = if matches!(outcome, Outcome::Binary) { &mut tally.binary } else { &mut tally.unreadable };
            *count += 1;
            if let Some(number) = known {
                store.edit(observer, |index, _| index.remove(number))?;
                tally.removed += 1;
            }
            return Ok(());
        }
    };
    let contents = Contents {
        path: candidate.path.as_os_str().as_bytes(),
        mtime_ns: candidate.mtime_ns,
        size_bytes: candidate.size_bytes,
        words: &words,
    };
    store.edit(observer, |index, section| index.put(&contents, section))?;
    *(if known.is_some() { &mut tally.changed } else { &mut tally.added }) += 1;
    tally.source_bytes += candidate.size_bytes;
    Ok(())
}
