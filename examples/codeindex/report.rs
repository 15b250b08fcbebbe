//! The progress bar, and what a run prints at its end.

use crate::store::Observer;
use crate::sweep::Tally;
use crate::walk::{FILE_BYTES_MAX, Walk};
use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressStyle};
use std::time::Duration;
use strewn::{Durations, Stats};

/// A progress bar on stderr. If that is no terminal, indicatif draws nothing.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar that says what it waits for.
    pub fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {eta} to go");
        Self(ProgressBar::new(0).with_style(style.expect("a valid template")))
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.0.finish_and_clear();
    }
}

impl Observer for Bar {
    fn expect(&mut self, files: u64) {
        self.0.set_length(files);
    }

    fn done(&mut self) {
        self.0.inc(1);
    }
}

/// What an indexing run is reported to have done.
pub struct Run<'a> {
    /// What was found.
    pub walk: &'a Walk,
    /// What was done.
    pub tally: Tally,
    /// How long it took.
    pub elapsed: Duration,
    /// The longest section.
    pub section_max: Duration,
    /// The heap's counters at its end.
    pub stats: &'a Stats,
    /// The counters of the heap when it was opened again and closed: what that wrote belongs to the run.
    pub closing: &'a Stats,
    /// Files and words in the index.
    pub sizes: (usize, usize),
    /// How long opening the heap again took.
    pub reopened: Duration,
}

/// Prints what a run did.
pub fn print(run: &Run<'_>) {
    let Run { walk, tally, stats, .. } = run;
    let count = |n: u64| HumanCount(n).to_string();
    let bytes = |n: u64| BinaryBytes(n).to_string();
    let per_modified = |n: u64, what: &str| match stats.bytes_modified {
        0 => String::new(),
        modified => format!("; {:.2} bytes {what} a byte modified", n as f64 / modified as f64),
    };
    println!(
        "indexed              {} added, {} changed, {} removed, {} unchanged; {} in {:.2?}",
        count(tally.added),
        count(tally.changed),
        count(tally.removed),
        count(tally.unchanged),
        bytes(tally.source_bytes),
        run.elapsed,
    );
    println!(
        "skipped              {} binary, {} over {}, {} unreadable",
        count(tally.binary),
        count(walk.large),
        bytes(FILE_BYTES_MAX),
        count(tally.unreadable + walk.unreadable),
    );
    println!("files                {}", count(run.sizes.0 as u64));
    println!("words                {}", count(run.sizes.1 as u64));
    println!("objects              {}", count(stats.live_objects));
    println!("live bytes           {}", bytes(stats.live_bytes));
    println!("checkpoints          {} ({} tracker)", count(stats.checkpoints), stats.tracker);
    println!("objects modified     {}", count(stats.objects_modified));
    println!("bytes modified       {}", bytes(stats.bytes_modified));
    let (log, fold) = (stats.log_bytes + run.closing.log_bytes, stats.fold_bytes + run.closing.fold_bytes);
    println!(
        "written to disk      {}: log {}, image {}{}",
        bytes(log + fold),
        bytes(log),
        bytes(fold),
        per_modified(log + fold, "written"),
    );
    println!(
        "page-granular        {} would have been copied{}",
        bytes(stats.page_bytes),
        per_modified(stats.page_bytes, "copied"),
    );
    print_durations("pauses", &stats.pauses);
    print_durations("  for sections", &stats.drains);
    print_durations("  to scan", &stats.scans);
    print_durations("  to copy", &stats.copies);
    println!("longest section      {:.2?}", run.section_max);
    println!("reopened in          {:.2?}", run.reopened);
}

fn print_durations(what: &str, durations: &Durations) {
    let ns = |quantile: f64| Duration::from_nanos(durations.quantile_ns(quantile));
    let max = Duration::from_nanos(durations.max_ns());
    println!("{what:<20} p50 {:.2?}, p99 {:.2?}, max {max:.2?}", ns(0.5), ns(0.99));
}
