//! The input as the files of a heap: those of a golden heap with edits, or none but what the input brings.
//!
//! ```text
//! base u8, repair u8, then edits: op u8, file u8, offset u16 (in units that op says), len u8 or u16, bytes
//! ```

use super::memory::Files;
use super::repair::repair;
use super::{Input, examine};
use crate::golden;
use crate::memory::{mix, pattern};
use std::sync::OnceLock;

const BASES: [&str; 5] = [
    include_str!("../../golden/v1/closed.txt"),
    include_str!("../../golden/v1/killed.txt"),
    include_str!("../../golden/v1/folding.txt"),
    include_str!("../../golden/v1/torn-fold.txt"),
    include_str!("../../golden/v1/page.txt"),
];
/// Nothing is looked at behind the end of what was ever written to a log, but that it is zeros.
const LOG_TAIL: usize = 512;
const NAMES: [&str; 8] = ["superblock", "log-0", "log-1", "meta-0", "meta-1", "acked", "zone-000", "zone-001"];
const INTERESTING: [u64; 8] = [0, 1, 0x7F, 0xFFFF, 1 << 27, u32::MAX as u64, 1 << 62, u64::MAX];

/// The golden heaps, without most of the room that is reserved at the ends of their logs.
fn bases() -> &'static [Files] {
    static BASES_READ: OnceLock<Vec<Files>> = OnceLock::new();
    BASES_READ.get_or_init(|| BASES.iter().map(|text| base(text)).chain([Files::new()]).collect())
}

fn base(text: &str) -> Files {
    let mut files = Files::new();
    for (name, state) in golden::from_text(text).expect("golden heaps can be read").files() {
        let name = name.to_string_lossy().into_owned();
        let mut bytes = vec![0; state.len as usize];
        state.chunks.iter().for_each(|(at, chunk)| bytes[*at as usize..][..chunk.len()].copy_from_slice(chunk));
        if name.starts_with("log-") {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(8) + LOG_TAIL);
        }
        files.insert(name, bytes);
    }
    files
}

/// One edit. Offsets beyond the end wrap around.
fn edit(files: &mut Files, input: &mut Input<'_>) {
    let (op, name) = (input.byte(), NAMES[usize::from(input.byte()) % NAMES.len()]);
    let bytes = files.entry(name.to_owned()).or_default();
    let at = usize::from(input.short()) % bytes.len().max(1);
    match op % 8 {
        0 | 1 => {
            let len = input.byte();
            let new = input.take(usize::from(len % 64));
            let end = bytes.len().min(at + new.len());
            bytes[at.min(end)..end].copy_from_slice(&new[..end - at.min(end)]);
        }
        2 => {
            let value = INTERESTING[usize::from(input.byte()) % INTERESTING.len()].to_le_bytes();
            let width = [1, 2, 4, 8][usize::from(op >> 3) % 4];
            let end = bytes.len().min(at + width);
            bytes[at.min(end)..end].copy_from_slice(&value[..end - at.min(end)]);
        }
        3 => bytes.truncate(at),
        4 => {
            let len = usize::from(input.short());
            bytes.extend_from_slice(input.take(len));
        }
        5 => {
            let len = input.byte();
            let new = input.take(len.into()).to_vec();
            bytes.splice(at..at, new);
        }
        6 => drop(bytes.drain(at..(at + usize::from(input.byte())).min(bytes.len()))),
        _ => {
            let other = NAMES[usize::from(input.byte()) % NAMES.len()];
            let copy = bytes.clone();
            files.insert(other.to_owned(), copy);
        }
    }
}

/// The files that an input stands for.
pub fn files(data: &[u8]) -> Files {
    let mut input = Input(data);
    let bases = bases();
    let mut files = bases[usize::from(input.byte()) % bases.len()].clone();
    let what = input.byte();
    while !input.is_over() {
        edit(&mut files, &mut input);
    }
    repair(&mut files, what);
    files
}

/// Examines them.
pub fn run(data: &[u8]) {
    examine::examine(&files(data));
}

/// Each base as it is, and with an edit of each of its files.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..BASES.len() as u8).map(|base| vec![base, 0]).collect();
    for i in 0..2 * NAMES.len() as u64 {
        let at = (mix(9, i) % 400) as u16;
        let mut seed = vec![(i % BASES.len() as u64) as u8, 0xFF, (i % 3 * 2) as u8, (i % NAMES.len() as u64) as u8];
        seed.extend(at.to_le_bytes());
        seed.push(8);
        seed.extend(pattern(i, 8));
        seeds.push(seed);
    }
    seeds
}
