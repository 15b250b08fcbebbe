//! `pause`: for how long a cut keeps threads out of sections, against how much was modified and against how much there is.
//!
//! 64-byte objects, modified at random (different ones each round), then a checkpoint. The pause and its parts are the heap's own clock readings
//! ([`strewn::CutReport`]): drain (until every thread is outside), scan (find what was written, arm it again), copy (of the slots, into the record). A round
//! ends when the checkpoint is durable and background work has settled.
//!
//! The last table has a second thread that reads objects in short sections all the while: re-arming then interrupts the other core, and there is something
//! to drain.
//!
//! Left out: allocation between cuts, and zones of other sizes.

use super::{Setting, tracker_from_environment};
use crate::Scale;
use crate::machine::settle;
use crate::measure::{Rounds, Samples, interleave};
use crate::population::Population;
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering};
use strewn::{CutReport, Heap};

const OBJECT_BYTES: usize = 64;
const COLUMNS: [&str; 11] = [
    "live",
    "modified",
    "pause p50",
    "pause p90",
    "pause max",
    "drain",
    "scan",
    "copy",
    "ns an object",
    "durable ms",
    "rounds",
];

/// The cuts of one configuration, and how long each took to become durable.
pub(super) struct Cuts {
    pub(super) cuts: Vec<CutReport>,
    pub(super) durable_ms: Vec<f64>,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let scale = setting.scale;
    let repeats: usize = scale.pick(2, 9, 41);
    let rounds = setting.rounds(2, repeats, 1_000);
    let million = scale.pick(2_000, 1_000_000, 1_000_000);
    let scratch = setting.scratch()?;
    let main =
        Population::create(&Setting::heap_path(scratch.path(), "main"), &Heap::options(), million, OBJECT_BYTES)?;
    let mut report = Report::default();

    let mut modified = Table::new("us; against objects modified", &COLUMNS);
    let fractions: &[usize] =
        scale.pick(&[100, 1_000], &[100, 1_000, 10_000, 100_000, 1_000_000], &[100, 1_000, 10_000, 100_000, 1_000_000]);
    let headline_count = scale.pick(1_000, 10_000, 10_000);
    let mut headline = None;
    for &count in fractions {
        // The large ones take a second or more a round, and vary little.
        let rounds = if count >= 1_000_000 { setting.rounds(1, repeats.div_ceil(5), 1_000) } else { rounds };
        let cuts = measure(&main, count, rounds, false)?;
        modified.row(cuts.row(main.objects(), count));
        if count == headline_count {
            headline = Some(cuts);
        }
    }
    report.tables.push(modified);

    let mut live = Table::new("us; against live objects", &COLUMNS);
    let few = scale.pick(100, 1_000, 1_000);
    let sizes: &[usize] =
        scale.pick(&[1_000, 2_000], &[10_000, 100_000, 1_000_000], &[10_000, 100_000, 1_000_000, 10_000_000]);
    for &objects in sizes {
        let row = if objects == main.objects() {
            measure(&main, few, rounds, false)?.row(objects, few)
        } else {
            let scratch = setting.scratch()?;
            let path = Setting::heap_path(scratch.path(), "live");
            let other = Population::create(&path, &Heap::options(), objects, OBJECT_BYTES)?;
            measure(&other, few, rounds, false)?.row(objects, few)
        };
        live.row(row);
    }
    report.tables.push(live);

    let mut busy = Table::new("us; while another thread reads in short sections", &COLUMNS);
    for count in [few, headline_count] {
        busy.row(with_reader(&main, || measure(&main, count, rounds, true))?.row(main.objects(), count));
    }
    report.tables.push(busy);

    let cuts = headline.expect("the headline's count is among those measured");
    report.note(format!(
        "tracker {}{}",
        main.tracker()?,
        if tracker_from_environment()?.is_some() { " (STREWN_TRACKER)" } else { "" }
    ));
    report.note("drain, scan and copy are those of the cut with the median pause");
    report.note("durable ms: the whole checkpoint, pause included; the program runs during the rest of it");
    if scale != Scale::Full {
        report.note("10^7 live objects are measured without --quick only");
    }
    report.note(cuts.made_of(headline_count));
    let pause = cuts.quantile(0.5, CutReport::pause_ns) / 1e3;
    report.headline("pause.p50_us_10k_of_1m", pause, "us", Promise::None);
    Ok(report)
}

/// Modifies `count` objects and checkpoints, again and again.
fn measure(population: &Population, count: usize, rounds: Rounds, busy: bool) -> Result<Cuts> {
    let runs = interleave(&mut [population], rounds, |population, round| {
        let picks = population.pick(&mut SmallRng::seed_from_u64(round as u64), count);
        population.modify(&picks, round as u8);
        let (cut, seconds) = population.checkpoint()?;
        settle(busy)?;
        Ok((cut, seconds * 1e3))
    })?;
    let (cuts, durable_ms) = runs.into_iter().flatten().unzip();
    Ok(Cuts { cuts, durable_ms })
}

/// Runs `work` while another thread reads objects of its own, in short sections.
fn with_reader<R>(population: &Population, work: impl FnOnce() -> R) -> R {
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            // Relaxed: nothing but the flag is shared.
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_until(population.heap(), &stop));
        let stopping = StopOnDrop(&stop);
        let result = work();
        drop(stopping);
        reader.join().expect("the reader does not panic").expect("there is memory for the reader's objects");
        result
    })
}

fn read_until(heap: &Heap, stop: &AtomicBool) -> Result<()> {
    let layout = Layout::new::<[u64; OBJECT_BYTES / 8]>();
    let mut objects = Vec::new();
    let section = heap.enter();
    for _ in 0..100 {
        let object = section.alloc(layout)?.cast::<u64>();
        // SAFETY: just allocated, large enough, and aligned to 16 bytes or more.
        unsafe { object.write(0) };
        objects.push(object);
    }
    drop(section);
    while !stop.load(Ordering::Relaxed) {
        let _section = heap.enter();
        for object in &objects {
            // SAFETY: this thread allocated the object, wrote it, and alone knows it.
            unsafe { object.read_volatile() };
        }
    }
    Ok(())
}

impl Cuts {
    /// What `quantile` (0 to 1) of the cuts do not exceed in `part`, in nanoseconds.
    pub(super) fn quantile(&self, quantile: f64, part: impl Fn(&CutReport) -> u64) -> f64 {
        self.cuts.iter().map(|cut| part(cut) as f64).collect::<Samples>().quantile(quantile)
    }

    /// The cut with the median pause, whose parts are shown: medians of the parts would not add up.
    pub(super) fn typical(&self) -> CutReport {
        let mut cuts = self.cuts.clone();
        cuts.sort_by_key(CutReport::pause_ns);
        cuts[cuts.len() / 2]
    }

    fn row(&self, live: usize, modified: usize) -> Vec<Value> {
        let us = |ns: f64| figure(ns / 1e3);
        let pause = |quantile| self.quantile(quantile, CutReport::pause_ns);
        let typical = self.typical();
        let durable: Samples = self.durable_ms.iter().copied().collect();
        vec![
            json!(live),
            json!(modified),
            us(pause(0.5)),
            us(pause(0.9)),
            us(pause(1.0)),
            us(typical.drain_ns as f64),
            us(typical.scan_ns as f64),
            us(typical.copy_ns as f64),
            figure(pause(0.5) / modified as f64),
            figure(durable.median()),
            json!(self.cuts.len()),
        ]
    }

    fn made_of(&self, modified: usize) -> String {
        let cut = self.typical();
        let part = |name: &str, ns: u64| {
            format!("{name} {:.0} us ({:.0} %)", ns as f64 / 1e3, ns as f64 * 100.0 / cut.pause_ns() as f64)
        };
        let parts = [part("drain", cut.drain_ns), part("scan and re-arm", cut.scan_ns), part("copy", cut.copy_ns)];
        format!("the headline's pause, {modified} objects modified, is made of {}", parts.join(", "))
    }
}
