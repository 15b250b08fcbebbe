//! `first-write`: what the first write of an object in an epoch costs, by tracker.
//!
//! One heap a tracker, all open at once, with the same number of 64-byte objects. A round, for each tracker in turn: a checkpoint, which arms what the
//! last round wrote; then, inside one section, the first byte of so many different objects at random is written; then the same ones again. Time
//! divided by writes is a sample. The second pass costs what memory and TLB cost without tracking.
//!
//! The page-granular tracker faults once a page, so it gets one object of each page: its figure is for the first write of a page.
//!
//! Objects are mapped by pages and armed one by one, whatever the granularity ladder would do (see `ladder`).
//!
//! Left out: the cut that finds the writes (see `pause`), and what re-arming costs other threads. The signal tracker opens stretches of pages once its
//! faults have split a quarter of `vm.max_map_count`; fewer objects than that are written, so that every write here is caught alone.

use super::Setting;
use crate::measure::{Samples, interleave, median_of};
use crate::population::{Picks, Population};
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::json;
use std::collections::HashMap;
use std::time::Instant;
use strewn::{Heap, HeapOptions, Mapping, PolicyKind, TrackerKind};

const OBJECT_BYTES: usize = 64;
const PAGE_SHIFT: u32 = 12;
const SIDES: [TrackerKind; 3] = [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page];

struct Side {
    kind: TrackerKind,
    population: Population,
    /// One object of each page, for the page-granular tracker.
    by_page: Picks,
}

/// Nanoseconds a write.
struct Round {
    first: f64,
    second: f64,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let objects = setting.scale.pick(4_000, 200_000, 1_000_000);
    let writes = setting.scale.pick(200, 10_000, 10_000);
    let repeats = setting.scale.pick(2, 15, 41);
    let scratch = setting.scratch()?;
    let mut sides = Vec::new();
    for kind in SIDES {
        let path = Setting::heap_path(scratch.path(), &kind.to_string());
        let population = Population::create(&path, &options(kind), objects, OBJECT_BYTES)?;
        population.checkpoint()?;
        population.read_all();
        sides.push(Side { kind, by_page: one_each_page(&population), population });
    }
    let rounds =
        interleave(&mut sides, setting.rounds(2, repeats, 8_000), |side, round| side.round(writes, round as u64))?;

    let mut table = Table::new(
        format!(
            "ns a write of one byte; {objects} objects of {OBJECT_BYTES} B; p50 and p90 of {} rounds",
            rounds[0].len()
        ),
        &["tracker", "writes", "first p50", "first p90", "second p50", "first - second"],
    );
    let mut first = HashMap::new();
    for (side, rounds) in sides.iter().zip(&rounds) {
        let firsts: Samples = rounds.iter().map(|r| r.first).collect();
        let second = median_of(rounds, |r| r.second);
        let written = side.picks(writes, 0).len();
        let shown = [firsts.median(), firsts.quantile(0.9), second, firsts.median() - second].map(figure);
        table.row([json!(side.kind.to_string()), json!(written)].into_iter().chain(shown));
        first.insert(side.kind.to_string(), firsts.median());
    }
    let mut report = Report { tables: vec![table], ..Report::default() };
    report.note("all three trackers are always measured; STREWN_TRACKER is not looked at");
    report.note(
        "page: the first write of a page, one object of each; later first writes of objects in that page cost nothing",
    );
    report.headline("first-write.async_speedup", first["signal"] / first["async"], "ratio", Promise::AtLeast(5.0));
    Ok(report)
}

/// Each object caught on its own: what the ladder makes of that is left to `ladder`.
fn options(kind: TrackerKind) -> HeapOptions {
    Heap::options().tracker(kind).mapping(Mapping::Pages).policy(PolicyKind::Fine)
}

fn one_each_page(population: &Population) -> Picks {
    let mut seen = std::collections::HashSet::new();
    let addresses = population.addresses().iter().zip(0..);
    addresses.filter(|(address, _)| seen.insert(*address >> PAGE_SHIFT)).map(|(_, index)| index).collect()
}

impl Side {
    fn round(&mut self, writes: usize, round: u64) -> Result<Round> {
        let picks = self.picks(writes, round);
        self.population.checkpoint()?;
        crate::machine::settle(false)?;
        let first = self.write_each(&picks, round as u8);
        let second = self.write_each(&picks, !round as u8);
        Ok(Round { first, second })
    }

    /// The same objects for every tracker that can tell them apart.
    fn picks(&self, writes: usize, round: u64) -> Picks {
        let mut rng = SmallRng::seed_from_u64(round);
        if self.kind == TrackerKind::Page {
            let mut picks = self.by_page.clone();
            picks.shuffle(&mut rng);
            picks.truncate(writes);
            return picks;
        }
        self.population.pick(&mut rng, writes)
    }

    fn write_each(&self, picks: &[u32], stamp: u8) -> f64 {
        let section = self.population.heap().enter();
        let start = Instant::now();
        for index in picks {
            // SAFETY: the object is live, and only this thread writes it.
            unsafe { self.population.object(*index, &section).write_volatile(stamp) };
        }
        start.elapsed().as_nanos() as f64 / picks.len() as f64
    }
}
