//! `checkpoint-bytes`: what a checkpoint writes and how long it takes, object by object against page by page.
//!
//! For each object size, two heaps with the same number of objects, open at once: one with lanes, one page-granular. For each fraction, rounds of: pick so
//! many different objects at random, write all bytes of each (the same picks on both sides), wait until nothing runs in the background and the file system has
//! been written back, make a checkpoint, and wait until it is durable. Sides take turns.
//!
//! - *Bytes modified* are those of the objects that were written, count times size, whatever the heap says.
//! - *Log* bytes are all bytes that the checkpoint wrote to the log ([`strewn::Stats::log_bytes`]), headers included: what a checkpoint waits for.
//! - *Fold* bytes are written later, in the background, when the log is folded into the image. Both sides fold. They are shown per byte modified, as an
//!   average over the rounds: a fold comes when the log is full (the default, 64 MiB), so few rounds of small checkpoints see none.
//! - *Checkpoint* is the time of the whole call: stop, scan, copy, checksum, write, sync.
//! - *Writing* is the time of the writes before it, first-write faults included: lanes fault once an object, pages once a page. It is no part of the ratio.
//!
//! Left out: allocation, folding that overlaps a checkpoint, and other threads.

use super::{Setting, tracker_from_environment};
use crate::Scale;
use crate::machine::{settle, write_back};
use crate::measure::{interleave, median_of};
use crate::population::Population;
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::json;
use std::time::Instant;
use strewn::{Heap, TrackerKind};

const FRACTIONS: [f64; 4] = [0.01, 1.0, 10.0, 100.0];
const COLUMNS: [&str; 14] = [
    "object",
    "objects",
    "modified %",
    "MB modified",
    "strewn log/B",
    "page log/B",
    "strewn fold/B",
    "page fold/B",
    "strewn ms",
    "page ms",
    "time ratio",
    "strewn writing ms",
    "page writing ms",
    "rounds",
];

/// One checkpoint.
struct Round {
    log_bytes: f64,
    checkpoint_ms: f64,
    writing_ms: f64,
}

/// One configuration, as the medians of both sides: lanes, then pages.
struct Outcome {
    amplification: [f64; 2],
    checkpoint_ms: [f64; 2],
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let named = tracker_from_environment()?;
    let strewn = named.filter(|kind| *kind != TrackerKind::Page);
    let mut table = Table::new("a checkpoint, per byte modified; medians", &COLUMNS);
    let mut report = Report::default();
    for bytes in [16, 64, 256, 1024, 2048] {
        let objects = match bytes {
            64 => setting.scale.pick(2_000, 1_000_000, 1_000_000),
            _ => setting.scale.pick(2_000, 100_000, 1_000_000),
        };
        let scratch = setting.scratch()?;
        let create = |side: &str, options| {
            Population::create(&Setting::heap_path(scratch.path(), side), &options, objects, bytes)
        };
        let lanes = strewn.map_or_else(Heap::options, |kind| Heap::options().tracker(kind));
        let lanes = if named.is_some() && strewn.is_none() { lanes.tracker(TrackerKind::Async) } else { lanes };
        let mut sides = [create("strewn", lanes)?, create("page", Heap::options().tracker(TrackerKind::Page))?];
        for side in &sides {
            side.checkpoint()?;
            side.read_all();
        }
        for percent in FRACTIONS {
            if setting.scale != Scale::Full && bytes == 2048 && percent == 100.0 {
                continue;
            }
            let outcome = measure(setting, &mut sides, percent, &mut table)?;
            if bytes == 64 && percent == 1.0 {
                let [lanes, pages] = outcome.checkpoint_ms;
                let name = "checkpoint-bytes.amplification_64b_1pct";
                report.headline(name, outcome.amplification[0], "bytes/byte", Promise::AtMost(1.35));
                report.headline("checkpoint-bytes.time_vs_page_64b_1pct", lanes / pages, "ratio", Promise::AtMost(0.5));
            }
        }
        if bytes == 64 {
            report.note(format!(
                "the strewn side is tracked by {}; STREWN_TRACKER picks it (async or signal)",
                sides[0].tracker()?
            ));
        }
    }
    report.tables.push(table);
    report.note("log/B: bytes written to the log for each byte modified; fold/B: bytes written to the image in the background, both sides do it");
    report.note("writing ms: the writes before the checkpoint with their faults, no part of the time ratio");
    if setting.scale != Scale::Full {
        report.note("100,000 objects of the sizes other than 64 B, and 2048 B x 100 % without --quick only");
    }
    Ok(report)
}

fn measure(setting: &Setting, sides: &mut [Population; 2], percent: f64, table: &mut Table) -> Result<Outcome> {
    let (objects, bytes) = (sides[0].objects(), sides[0].object_bytes());
    let count = ((objects as f64 * percent / 100.0) as usize).max(1);
    let modified = (count * bytes) as f64;
    let repeats = rounds(setting.scale, count, bytes);
    let folds = |side: &Population| Ok::<_, anyhow::Error>(side.heap().stats()?.fold_bytes as f64);
    let before = [folds(&sides[0])?, folds(&sides[1])?];
    const WARM: usize = 1;
    let runs = interleave(sides, WARM, repeats, |side, round| one(setting, side, count, round as u64))?;
    let mut fold = [0.0; 2];
    for ((side, before), fold) in sides.iter().zip(before).zip(&mut fold) {
        settle(false)?;
        *fold = (folds(side)? - before) / ((WARM + repeats) as f64 * modified);
    }
    let both = |aspect: fn(&Round) -> f64| [median_of(&runs[0], aspect), median_of(&runs[1], aspect)];
    let amplification = both(|round| round.log_bytes).map(|bytes| bytes / modified);
    let checkpoint_ms = both(|round| round.checkpoint_ms);
    let writing_ms = both(|round| round.writing_ms);
    let figures = [modified / 1e6].into_iter().chain(amplification).chain(fold).chain(checkpoint_ms);
    let figures = figures.chain([checkpoint_ms[0] / checkpoint_ms[1]]).chain(writing_ms).map(figure);
    let labels = [json!(bytes), json!(objects), json!(percent)];
    table.row(labels.into_iter().chain(figures).chain([json!(repeats)]));
    Ok(Outcome { amplification, checkpoint_ms })
}

/// Many rounds of small checkpoints, few of large ones.
fn rounds(scale: Scale, count: usize, bytes: usize) -> usize {
    // What the page-granular side writes, at most, and what writing the objects costs in faults, put into bytes.
    let work = count * (bytes.max(4096) + 1024);
    let (budget, least, most) = scale.pick((0, 1, 1), (600 << 20, 1, 11), (4 << 30, 3, 31));
    (budget / work).clamp(least, most)
}

fn one(setting: &Setting, side: &mut Population, count: usize, round: u64) -> Result<Round> {
    let picks = side.pick(&mut SmallRng::seed_from_u64(round), count);
    let start = Instant::now();
    side.modify(&picks, round as u8);
    let writing_ms = start.elapsed().as_secs_f64() * 1e3;
    settle(false)?;
    write_back(&setting.dir)?;
    let before = side.heap().stats()?.log_bytes;
    let (_, seconds) = side.checkpoint()?;
    let log_bytes = (side.heap().stats()?.log_bytes - before) as f64;
    settle(false)?;
    Ok(Round { log_bytes, checkpoint_ms: seconds * 1e3, writing_ms })
}
