//! `checkpoint-bytes`: what a checkpoint writes and how long it takes, object by object against page by page.
//!
//! For each object size, two heaps with the same number of objects, open at once: one with lanes, one page-granular. For each fraction, rounds of: pick so
//! many different objects at random, write all bytes of each (the same picks on both sides), wait until nothing runs in the background and the file system has
//! been written back, make a checkpoint, and wait until it is durable. Sides take turns.
//!
//! - *Bytes modified* are those of the objects that were written, count times size, whatever the heap says.
//! - *Log* bytes are all bytes that the checkpoint wrote to the log ([`strewn::Stats::log_bytes`]), headers included: what a checkpoint waits for.
//! - *Fold* bytes are written later, in the background, when the log is longer than 64 MiB (the default) and is folded into the image. Both sides fold. When
//!   one comes depends on all rounds before, so that they are shown in a table of totals: everything from filling the heap to the end, for each size.
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
use serde_json::{Value, json};
use std::time::Instant;
use strewn::{Heap, TrackerKind};

const FRACTIONS: [f64; 4] = [0.01, 1.0, 10.0, 100.0];
const COLUMNS: [&str; 12] = [
    "object",
    "objects",
    "modified %",
    "MB modified",
    "strewn log/B",
    "page log/B",
    "strewn ms",
    "page ms",
    "time ratio",
    "strewn writing ms",
    "page writing ms",
    "rounds",
];
const TOTALS: [&str; 7] = ["object", "side", "MB modified", "MB log", "MB fold", "folds", "all/B"];

/// One checkpoint.
struct Round {
    log_bytes: f64,
    checkpoint_ms: f64,
    writing_ms: f64,
}

/// One configuration, as the medians of both sides: lanes, then pages.
struct Outcome {
    modified: f64,
    amplification: [f64; 2],
    checkpoint_ms: [f64; 2],
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let lanes = match tracker_from_environment()? {
        None => Heap::options(),
        // That is the other side.
        Some(TrackerKind::Page) => Heap::options().tracker(TrackerKind::Async),
        Some(kind) => Heap::options().tracker(kind),
    };
    let mut table =
        Table::new("a checkpoint; log bytes per byte modified, milliseconds until durable; medians", &COLUMNS);
    let mut totals = Table::new("totals, from filling the heaps on", &TOTALS);
    let mut report = Report::default();
    for bytes in [16, 64, 256, 1024, 2048] {
        let objects = match bytes {
            64 => setting.scale.pick(2_000, 1_000_000, 1_000_000),
            _ => setting.scale.pick(2_000, 50_000, 1_000_000),
        };
        let scratch = setting.scratch()?;
        let create = |side: &str, options| {
            Population::create(&Setting::heap_path(scratch.path(), side), &options, objects, bytes)
        };
        let mut sides = [create("strewn", lanes.clone())?, create("page", Heap::options().tracker(TrackerKind::Page))?];
        for side in &sides {
            side.checkpoint()?;
            side.read_all();
        }
        let mut modified = (objects * bytes) as f64;
        for percent in FRACTIONS {
            if setting.scale != Scale::Full && bytes == 2048 && percent == 100.0 {
                continue;
            }
            let outcome = measure(setting, &mut sides, percent, &mut table)?;
            modified += outcome.modified;
            if bytes == 64 && percent == 1.0 {
                let [lanes, pages] = outcome.checkpoint_ms;
                let name = "checkpoint-bytes.amplification_64b_1pct";
                report.headline(name, outcome.amplification[0], "bytes/byte", Promise::AtMost(1.35));
                report.headline("checkpoint-bytes.time_vs_page_64b_1pct", lanes / pages, "ratio", Promise::AtMost(0.5));
            }
        }
        for (side, name) in sides.iter().zip(["strewn", "page"]) {
            totals.row(total(side, name, modified)?);
        }
        if bytes == 64 {
            report.note(format!(
                "the strewn side is tracked by {}; STREWN_TRACKER picks it (async or signal)",
                sides[0].tracker()?
            ));
        }
    }
    report.tables = vec![table, totals];
    report.note("log/B: bytes written to the log for each byte modified; all/B: those written to the image in the background as well");
    report.note("writing ms: the writes before the checkpoint with their faults, no part of the time ratio");
    if setting.scale != Scale::Full {
        report.note("50,000 objects of the sizes other than 64 B, and 2048 B x 100 % without --quick only");
    }
    Ok(report)
}

fn measure(setting: &Setting, sides: &mut [Population; 2], percent: f64, table: &mut Table) -> Result<Outcome> {
    let (objects, bytes) = (sides[0].objects(), sides[0].object_bytes());
    let count = ((objects as f64 * percent / 100.0) as usize).max(1);
    let modified = (count * bytes) as f64;
    // The headline's configuration gets more time than the others. Before it counts, its log files are written over once, because the first write of a file costs the disk several
    // times as much as later ones; and the ladder settles: for ten checkpoints after the writes have become sparse, it fills page tables in the pause, 8 ms each time.
    let headline = bytes == 64 && percent == 1.0;
    let (warm, quick_ms) = if headline { (setting.scale.pick(1, 15, 15), 8_000) } else { (1, 150) };
    let repeats = repeats(setting.scale, count, bytes);
    let rounds =
        setting.rounds(warm, if headline { repeats.max(setting.scale.pick(1, 7, 7)) } else { repeats }, quick_ms);
    let runs = interleave(sides, rounds, |side, round| one(setting, side, count, round as u64))?;
    let both = |aspect: fn(&Round) -> f64| [median_of(&runs[0], aspect), median_of(&runs[1], aspect)];
    let amplification = both(|round| round.log_bytes).map(|bytes| bytes / modified);
    let checkpoint_ms = both(|round| round.checkpoint_ms);
    let writing_ms = both(|round| round.writing_ms);
    let figures = [modified / 1e6].into_iter().chain(amplification).chain(checkpoint_ms);
    let figures = figures.chain([checkpoint_ms[0] / checkpoint_ms[1]]).chain(writing_ms).map(figure);
    let labels = [json!(bytes), json!(objects), json!(percent)];
    table.row(labels.into_iter().chain(figures).chain([json!(runs[0].len())]));
    Ok(Outcome { modified: modified * (warm + runs[0].len()) as f64, amplification, checkpoint_ms })
}

/// What a side has written in all.
fn total(side: &Population, name: &str, modified: f64) -> Result<Vec<Value>> {
    settle(false)?;
    // The counters of the background are as of the last checkpoint.
    side.modify(&[0], 0);
    side.checkpoint()?;
    let stats = side.heap().stats()?;
    let (log, fold) = (stats.log_bytes as f64, stats.fold_bytes as f64);
    let megabytes = [modified, log, fold].map(|bytes| figure(bytes / 1e6));
    let labels = [json!(side.object_bytes()), json!(name)];
    let row = labels.into_iter().chain(megabytes).chain([json!(stats.folds), figure((log + fold) / modified)]);
    Ok(row.collect())
}

/// Many rounds of small checkpoints, few of large ones.
fn repeats(scale: Scale, count: usize, bytes: usize) -> usize {
    // What the page-granular side writes, at most, and what writing the objects costs in faults, put into bytes.
    let work = count * (bytes.max(4096) + 1024);
    let (budget, least, most) = scale.pick((0, 1, 1), (200 << 20, 1, 7), (4 << 30, 3, 31));
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
