//! `pause-scale`: how the pause of a cut grows with the number of live objects, when the number of modified ones stays the same.
//!
//! One heap of 64-byte objects for each number of live objects, all open at once. In each of them the same number of objects is modified before each
//! checkpoint; a round ends when that is durable and background work has settled. Three ways to pick them, one after the other on the same heaps:
//!
//! - `working set`: at random out of the objects allocated last, as many as the smallest heap has in all, others each time. The rest is cold;
//! - `scattered`: the same ones each time, at random out of all;
//! - `anywhere`: at random out of all, others each time. There is no working set to find.
//!
//! The first rounds of each way do not count: as many as it takes until what the way before left behind has cooled, and caches and buffers are warm.
//! Heaps take turns of several rounds each, so that one finds its caches as it left them in all rounds of a turn but the first. Growth is the median
//! pause of the largest heap divided by that of the smallest.
//!
//! Left out: allocation between cuts, other threads (both are in `pause`), and what the modified number does to the pause (likewise).

use super::pause::Cuts;
use super::{Setting, tracker_from_environment};
use crate::Scale;
use crate::measure::{Rounds, interleave};
use crate::population::{Picks, Population, stamp};
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use strewn::{CutReport, Heap, LadderStats};

const OBJECT_BYTES: usize = 64;
const COLUMNS: [&str; 12] = [
    "pick",
    "live",
    "pause p50",
    "pause p90",
    "pause max",
    "scan",
    "copy",
    "beside",
    "rounds",
    "cold",
    "sparse",
    "hot",
];

/// How the objects to modify are picked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    WorkingSet,
    Scattered,
    Anywhere,
}

/// How much is measured.
struct Plan {
    /// Live objects, by heap.
    live: &'static [usize],
    /// Objects modified each round.
    modified: usize,
    /// Rounds of one heap before the next one's.
    turn: usize,
    /// Turns.
    turns: Rounds,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let plan = Plan {
        live: setting.scale.pick(
            &[1_000, 4_000],
            &[10_000, 100_000, 1_000_000, 10_000_000],
            &[10_000, 100_000, 1_000_000, 10_000_000],
        ),
        modified: setting.scale.pick(100, 1_000, 1_000),
        turn: setting.scale.pick(2, 10, 10),
        turns: setting.scale.pick(Rounds::all(1, 2), Rounds::all(8, 3), Rounds::all(8, 10)),
    };
    let scratch = setting.scratch()?;
    let mut heaps = Vec::new();
    for objects in plan.live {
        let path = Setting::heap_path(scratch.path(), &objects.to_string());
        let population = Population::create(&path, &Heap::options(), *objects, OBJECT_BYTES)?;
        population.checkpoint()?;
        heaps.push(population);
    }

    let title = format!("us; {} objects modified; lane-blocks by state at the end", plan.modified);
    let mut table = Table::new(title, &COLUMNS);
    let mut growth = Vec::new();
    for (way, number) in Way::ALL.into_iter().zip(0..) {
        let cuts = plan.measure(&mut heaps, way, number)?;
        for (heap, cuts) in heaps.iter().zip(&cuts) {
            table.row(row(way, heap.objects(), cuts, &heap.heap().stats()?.ladder));
        }
        let pauses: Vec<_> = cuts.iter().map(|cuts| cuts.quantile(0.5, CutReport::pause_ns)).collect();
        growth.push(pauses[pauses.len() - 1] / pauses[0]);
    }

    let mut report = Report { tables: vec![table], ..Report::default() };
    let from_environment = if tracker_from_environment()?.is_some() { " (STREWN_TRACKER)" } else { "" };
    report.note(format!("tracker {}{from_environment}", heaps[0].tracker()?));
    report.note("scan, copy and beside are those of the cut with the median pause");
    report.note("beside: scanning cold objects before and after the pause; other threads go on, the caller of checkpoint waits for it");
    report.note(format!(
        "{} rounds of each heap and way do not count; heaps take turns of {}",
        plan.turns.warm * plan.turn,
        plan.turn
    ));
    if setting.scale == Scale::Smoke {
        report.note("live objects are fewer than the headline's name says");
    }
    for (way, growth) in Way::ALL.into_iter().zip(growth) {
        report.headline(way.headline(), growth, "ratio", way.promise());
    }
    Ok(report)
}

impl Way {
    const ALL: [Self; 3] = [Self::WorkingSet, Self::Scattered, Self::Anywhere];

    fn name(self) -> &'static str {
        match self {
            Self::WorkingSet => "working set",
            Self::Scattered => "scattered",
            Self::Anywhere => "anywhere",
        }
    }

    fn headline(self) -> &'static str {
        match self {
            Self::WorkingSet => "pause-scale.growth_1e4_1e7",
            Self::Scattered => "pause-scale.growth_scattered",
            Self::Anywhere => "pause-scale.growth_anywhere",
        }
    }

    fn promise(self) -> Promise {
        match self {
            Self::WorkingSet => Promise::Below(2.0),
            Self::Scattered | Self::Anywhere => Promise::None,
        }
    }
}

impl Plan {
    /// The cuts that count, by heap. `number` tells this way's rounds from those of the others.
    fn measure(&self, heaps: &mut [Population], way: Way, number: usize) -> Result<Vec<Cuts>> {
        let rounds = (self.turns.warm + self.turns.repeats) * self.turn;
        let runs = interleave(heaps, self.turns, |heap, turn| {
            let rounds = (0..self.turn).map(|round| number * rounds + turn * self.turn + round);
            rounds
                .map(|round| heap.modify_durably(&self.pick(heap, way, round), stamp(round)))
                .collect::<Result<Vec<_>>>()
        })?;
        let cuts = runs.into_iter().map(|turns| {
            let (cuts, durable_ms) = turns.into_iter().flatten().map(|c| (c.cut, c.durable * 1e3)).unzip();
            Cuts { cuts, durable_ms }
        });
        Ok(cuts.collect())
    }

    fn pick(&self, heap: &Population, way: Way, round: usize) -> Picks {
        let mut rng = SmallRng::seed_from_u64(round as u64);
        let last = heap.objects() - self.live[0]..heap.objects();
        match way {
            Way::WorkingSet => heap.pick_within(&mut rng, last, self.modified),
            Way::Scattered => heap.pick(&mut SmallRng::seed_from_u64(0), self.modified),
            Way::Anywhere => heap.pick(&mut rng, self.modified),
        }
    }
}

fn row(way: Way, live: usize, cuts: &Cuts, ladder: &LadderStats) -> Vec<Value> {
    let us = |ns: f64| figure(ns / 1e3);
    let pause = |quantile| us(cuts.quantile(quantile, CutReport::pause_ns));
    let typical = cuts.typical();
    vec![
        json!(way.name()),
        json!(live),
        pause(0.5),
        pause(0.9),
        pause(1.0),
        us(typical.scan_ns as f64),
        us(typical.copy_ns as f64),
        us(typical.beside_ns as f64),
        json!(cuts.cuts.len()),
        json!(ladder.cold),
        json!(ladder.sparse),
        json!(ladder.hot),
    ]
}
