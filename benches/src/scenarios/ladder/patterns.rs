//! Ways to write ([`Pattern`]), and what each costs with every policy, with page-granular tracking, and with signals.
//!
//! For each pattern there are new heaps of 64-byte objects, one a contestant, all open at once, filled and checkpointed twice. Then each modifies the same
//! objects in the same order before each of so many checkpoints; the first ones count, so that learning does. Contestants take turns of several checkpoints
//! each. After each checkpoint, waiting until background work has settled does not count.
//!
//! - *Total* is the time of the program's writes, faults included, and of the checkpoints until durable.
//! - *Writing*, *pause* and *rest* are its parts: the writes; the cut, with its scan and its copy; encoding, writing and syncing while the program could
//!   run on.
//! - *Faults* to *eager* are the heap's own counters ([`strewn::LadderStats`]): writes caught, slots armed on their own and lane-blocks armed as a whole
//!   that scans looked at, and slots copied or compared without a fault that tells that they were written.
//! - *Left out* are slots that were copied because a neighbour woke their lane-block, and not written, because the image had them so.
//! - *Log/B* are the bytes written to the log for each byte of an object modified, however often it was written.
//! - *Surprises* are lane-blocks that were not hot and were written; *idle* are those that were hot and were not.
//!
//! The policies are those of heaps tracked by `async`; the page-granular contestant has `page`, whose ladder counts nothing; the signal contestant arms
//! each slot. Left out: allocation between cuts, other threads, and folding, which the settling waits for.

use super::super::Setting;
use super::OBJECT_BYTES;
use super::writes::{Pattern, Step};
use crate::Scale;
use crate::machine::{settle, write_back};
use crate::measure::{Rounds, interleave};
use crate::population::{Checkpoint, Population, stamp};
use crate::report::{Promise, Report, Table, figure};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use strewn::{Heap, HeapOptions, LadderStats, Mapping, PolicyKind, Stats, TrackerKind};

const PAGE: &str = "page";
const SIGNAL: &str = "signal";
const COLUMNS: [&str; 17] = [
    "contestant",
    "total s",
    "/ best fixed",
    "checkpoints",
    "writing ms",
    "pause ms",
    "scan ms",
    "copy ms",
    "rest ms",
    "faults",
    "slots scanned",
    "cold scanned",
    "eager",
    "left out",
    "log/B",
    "surprises",
    "idle",
];

/// One heap.
struct Contestant {
    name: String,
    population: Population,
    /// How many turns it takes.
    turns: usize,
    /// What it had counted before the pattern.
    before: Stats,
}

/// What a contestant's checkpoints add up to. Times in seconds.
#[derive(Default)]
struct Sums {
    checkpoints: usize,
    modified_bytes: f64,
    writing: f64,
    pause: f64,
    scan: f64,
    copy: f64,
    durable: f64,
}

/// Adds what was found to `report`.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let (turn, turns, fewer) = setting.scale.pick((1, 2, 2), (10, 10, 2), (10, 10, 2));
    let mut worst = [("", 0.0); 2];
    let objects = setting.scale.pick(2_000, 1_000_000, 1_000_000);
    for pattern in Pattern::ALL {
        let scratch = setting.scratch()?;
        let mut contestants = Vec::new();
        for (name, options) in entrants(setting.scale) {
            let signals = name == SIGNAL;
            let turns = if catches_each(&name) && pattern.is_heavy(signals) { fewer } else { turns };
            contestants.push(Contestant::new(name, &options, scratch.path(), objects, turns)?);
        }
        let steps = pattern.steps(&contestants[0].population, turns * turn, turn);
        let runs = interleave(&mut contestants, Rounds::all(0, turns), |contestant, number| {
            write_back(scratch.path())?;
            contestant.turn(&steps[number * turn..][..turn], number)
        })?;
        let sums: Vec<Sums> = runs.into_iter().map(|turns| turns.into_iter().sum()).collect();

        let total = |name: &str| -> Result<f64> {
            let at = contestants.iter().position(|c| c.name == name);
            Ok(sums[at.with_context(|| format!("a contestant {name}"))?].total(steps.len()))
        };
        let policy = |kind: PolicyKind| total(&kind.to_string());
        let best_fixed = policy(PolicyKind::Fine)?.min(policy(PolicyKind::Coarse)?);
        let adaptive = policy(PolicyKind::Adaptive)?;
        for (worst, rival) in worst.iter_mut().zip([best_fixed, total(PAGE)?]) {
            if adaptive / rival > worst.1 {
                *worst = (pattern.name(), adaptive / rival);
            }
        }
        let title = format!(
            "{}: {} checkpoints of {} objects of {OBJECT_BYTES} B; all but the total are means of a checkpoint",
            pattern.name(),
            steps.len(),
            objects
        );
        let mut table = Table::new(title, &COLUMNS);
        for (contestant, sums) in contestants.iter().zip(&sums) {
            table.row(contestant.row(sums, steps.len(), best_fixed)?);
        }
        report.tables.push(table);
    }
    let [(fixed_pattern, fixed), (page_pattern, page)] = worst;
    report.note(format!(
        "fine, genetic and signal make {} of the checkpoints of the last two patterns, and signal of the third, evenly over the phases; totals are scaled to all of them (genetic has not evolved by then)",
        fewer * turn
    ));
    report.note("phases are as long as turns; with --quick, only the default policy, the fixed ones and page-granular tracking take part");
    report.note(format!("worst_vs_best_fixed is from `{fixed_pattern}`, worst_vs_page from `{page_pattern}`"));
    report.headline("ladder.worst_vs_best_fixed", fixed, "ratio", Promise::AtMost(1.25));
    report.headline("ladder.worst_vs_page", page, "ratio", Promise::None);
    Ok(())
}

/// Whether a contestant catches each write on its own, at least at first.
fn catches_each(name: &str) -> bool {
    [PolicyKind::Fine, PolicyKind::Genetic].map(|policy| policy.to_string()).iter().any(|slow| slow == name)
        || name == SIGNAL
}

/// All who take part; with --quick, those whom the headlines compare.
fn entrants(scale: Scale) -> Vec<(String, HeapOptions)> {
    let compared = [PolicyKind::Adaptive, PolicyKind::Fine, PolicyKind::Coarse];
    let policies = scale.pick(&PolicyKind::ALL[..], &compared, &PolicyKind::ALL);
    let policies = policies.iter().map(|&policy| {
        let options = Heap::options().tracker(TrackerKind::Async).mapping(Mapping::Auto).policy(policy);
        (policy.to_string(), options)
    });
    let signal = Heap::options().tracker(TrackerKind::Signal).mapping(Mapping::Pages).policy(PolicyKind::Fine);
    let page = (PAGE.to_owned(), Heap::options().tracker(TrackerKind::Page));
    let signal = scale.pick(true, false, true).then(|| (SIGNAL.to_owned(), signal));
    policies.chain([page]).chain(signal).collect()
}

impl Contestant {
    fn new(name: String, options: &HeapOptions, dir: &Path, objects: usize, turns: usize) -> Result<Self> {
        let path = Setting::heap_path(dir, &name);
        let population = Population::create(&path, options, objects, OBJECT_BYTES)?;
        for _ in 0..2 {
            population.checkpoint()?;
            settle(false)?;
        }
        let before = population.heap().stats()?;
        Ok(Self { name, population, turns, before })
    }

    /// Turn `number`: nothing, if it takes no more of them.
    fn turn(&self, steps: &[Step], number: usize) -> Result<Sums> {
        if number >= self.turns {
            return Ok(Sums::default());
        }
        let numbered = steps.iter().zip(number * steps.len()..);
        numbered
            .map(|(step, at)| Ok(Sums::of(&self.population.modify_durably(&step.picks, stamp(at))?, step.distinct)))
            .sum()
    }

    fn row(&self, sums: &Sums, checkpoints: usize, best_fixed: f64) -> Result<Vec<Value>> {
        let after = self.population.heap().stats()?;
        let each = |sum: f64| figure(sum / sums.checkpoints as f64);
        let counted = |counter: fn(&LadderStats) -> u64| match self.before.tracker {
            TrackerKind::Page => Value::Null,
            _ => each((counter(&after.ladder) - counter(&self.before.ladder)) as f64),
        };

        let total = sums.total(checkpoints);
        Ok(vec![
            json!(self.name),
            figure(total),
            figure(total / best_fixed),
            json!(sums.checkpoints),
            each(sums.writing * 1e3),
            each(sums.pause * 1e3),
            each(sums.scan * 1e3),
            each(sums.copy * 1e3),
            each((sums.durable - sums.pause) * 1e3),
            counted(|ladder| ladder.faults),
            counted(|ladder| ladder.slots_scanned),
            counted(|ladder| ladder.cold_scanned),
            counted(|ladder| ladder.eager_copies + ladder.eager_compares),
            each((after.objects_unchanged - self.before.objects_unchanged) as f64),
            figure((after.log_bytes - self.before.log_bytes) as f64 / sums.modified_bytes),
            counted(|ladder| ladder.written_not_predicted),
            counted(|ladder| ladder.predicted_not_written),
        ])
    }
}

impl Sums {
    fn of(checkpoint: &Checkpoint, modified: usize) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        Self {
            checkpoints: 1,
            modified_bytes: (modified * OBJECT_BYTES) as f64,
            writing: checkpoint.writing,
            pause: seconds(checkpoint.cut.pause_ns()),
            scan: seconds(checkpoint.cut.scan_ns),
            copy: seconds(checkpoint.cut.copy_ns),
            durable: checkpoint.durable,
        }
    }

    /// The time of so many checkpoints like these.
    fn total(&self, checkpoints: usize) -> f64 {
        (self.writing + self.durable) * checkpoints as f64 / self.checkpoints as f64
    }
}

impl std::iter::Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            checkpoints: a.checkpoints + b.checkpoints,
            modified_bytes: a.modified_bytes + b.modified_bytes,
            writing: a.writing + b.writing,
            pause: a.pause + b.pause,
            scan: a.scan + b.scan,
            copy: a.copy + b.copy,
            durable: a.durable + b.durable,
        })
    }
}
