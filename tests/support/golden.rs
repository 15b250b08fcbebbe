//! Golden heaps: small ones that are made by fixed operations, and the text that their files are kept as in `tests/golden`.
//!
//! The text has a line for each file (name and length), and below it one for each 32 bytes that are not all zero (offset and bytes, in hexadecimal):
//! log files are mostly holes, and a difference can be read.

use crate::files::{FileState, Snapshot};
use crate::script::{newest_segment, wait_for_fold};
use crate::specimen;
use crate::trackers::options;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use strewn::{Heap, Mapping, PolicyKind, TrackerKind};

const LINE: usize = 32;
const CHUNK: usize = 4096;
const SECTOR: usize = 512;
/// Room for about three checkpoints.
const LOG_BYTES: u64 = 32 << 10;
/// Enough for several folds.
const STEPS: u64 = 11;

/// The kinds of heaps, which are also the names of their files.
pub const NAMES: [&str; 5] = ["closed", "killed", "folding", "torn-fold", "page"];

/// The tracker that the heap `name` is made with.
pub fn tracker_of(name: &str) -> TrackerKind {
    if name == "page" { TrackerKind::Page } else { TrackerKind::Async }
}

/// Makes the heap `name` at `path`: with the same bytes in its files each time, if nothing else uses the process's zones. Returns the step of the
/// specimen that it holds.
///
/// - `closed`: several folds, then closed.
/// - `killed`: a folded image, and records in the log.
/// - `folding`: a crash at the start of a fold: a sealed segment, and one with a record of its own.
/// - `torn-fold`: a crash in the middle of a fold: the next catalog is there, and each other sector of the image's new contents.
/// - `page`: as `killed`, in a heap that is addressed densely.
///
/// # Errors
/// What the heap reports.
pub fn make(path: &Path, name: &str) -> anyhow::Result<u64> {
    let options = options(tracker_of(name), LOG_BYTES).seed(1).mapping(Mapping::Auto).policy(PolicyKind::Adaptive);
    let heap = options.create(path)?;
    match name {
        "closed" => {
            let step = grow(&heap, path, |step, _| step == STEPS)?;
            heap.close()?;
            Ok(step)
        }
        "killed" | "page" => grow(&heap, path, |step, _| step == STEPS),
        // A fold creates the files of new zones at its start.
        "folding" => break_fold(heap, path, "zone-000"),
        // And it opens the superblock last.
        "torn-fold" => {
            grow(&heap, path, |_, segment| segment == 2)?;
            let before = Snapshot::take(path);
            let step = break_fold(heap, path, "superblock")?;
            tear(path, &before)?;
            Ok(step)
        }
        _ => bail!("no golden heap has the name {name}"),
    }
}

/// Takes the specimen on until `done` says so of its step and of the newest log segment; each fold ends before the next step.
fn grow(heap: &Heap, path: &Path, done: impl Fn(u64, u64) -> bool) -> anyhow::Result<u64> {
    loop {
        let step = specimen::grow(heap)?;
        heap.checkpoint()?;
        wait_for_fold(path);
        if done(step, newest_segment(path)) {
            return Ok(step);
        }
    }
}

/// Takes the specimen on until a fold has ended at a directory in the place of `file`, and the new log segment has two records. Then drops the heap.
fn break_fold(heap: Heap, path: &Path, file: &str) -> anyhow::Result<u64> {
    let (place, aside) = (path.join(file), path.join("aside"));
    if place.exists() {
        fs::rename(&place, &aside)?;
    }
    fs::create_dir(&place)?;
    let segment = newest_segment(path);
    let mut after = 0;
    let step = loop {
        let step = specimen::grow(&heap)?;
        heap.checkpoint()?;
        after += u64::from(newest_segment(path) > segment);
        if after == 2 {
            break step;
        }
    };
    // Waits for the fold.
    drop(heap);
    fs::remove_dir(&place)?;
    if aside.exists() {
        fs::rename(&aside, &place)?;
    }
    Ok(step)
}

/// Makes each other sector of the zone files what it was `before`.
fn tear(path: &Path, before: &Snapshot) -> anyhow::Result<()> {
    for (name, state) in Snapshot::take(path).files() {
        let Some(old) = before.files().get(name).filter(|_| name.to_string_lossy().starts_with("zone-")) else {
            continue;
        };
        let file = File::options().write(true).open(path.join(name))?;
        for (at, chunk) in &state.chunks {
            let zeros = vec![0; chunk.len()];
            let old = old.chunks.get(at).unwrap_or(&zeros);
            for sector in (0..chunk.len().min(old.len())).step_by(2 * SECTOR) {
                file.write_all_at(&old[sector..][..SECTOR.min(old.len() - sector)], at + sector as u64)?;
            }
        }
    }
    Ok(())
}

/// Files as text.
pub fn to_text(files: &Snapshot) -> String {
    let mut text = String::new();
    for (name, state) in files.files() {
        writeln!(text, "{} {}", name.display(), state.len).expect("writing to a string");
        for (at, chunk) in &state.chunks {
            for (line, bytes) in chunk.chunks(LINE).enumerate().filter(|(_, bytes)| bytes.iter().any(|b| *b != 0)) {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, " {:x} {hex}", at + (line * LINE) as u64).expect("writing to a string");
            }
        }
    }
    text
}

/// The files that [`to_text`] made `text` of, lines with a # aside; with the modes that a heap's files have.
///
/// # Errors
/// If it is not such a text.
pub fn from_text(text: &str) -> anyhow::Result<Snapshot> {
    let mut files: BTreeMap<PathBuf, FileState> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else {
            bail!("a line of less than two words: {line}")
        };
        if !line.starts_with(' ') {
            current = Some(PathBuf::from(first));
            let state = FileState { len: second.parse()?, chunks: BTreeMap::new(), stamp: (0, 0o600, 0) };
            files.insert(first.into(), state);
            continue;
        }
        let state = current.as_ref().and_then(|name| files.get_mut(name)).context("bytes before the first file")?;
        let at = u64::from_str_radix(first, 16)?;
        let chunk_at = at / CHUNK as u64 * CHUNK as u64;
        let chunk_len = CHUNK.min(state.len.saturating_sub(chunk_at) as usize);
        let chunk = state.chunks.entry(chunk_at).or_insert_with(|| vec![0; chunk_len]);
        for (i, pair) in second.as_bytes().chunks(2).enumerate() {
            let byte = chunk.get_mut((at - chunk_at) as usize + i).context("bytes beyond the end of their file")?;
            *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        }
    }
    Ok(Snapshot::of(files))
}
