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
use crate::measure::Samples;
use crate::population::Population;
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering};
use strewn::{CutReport, Heap};

const OBJECT_BYTES: usize = 64;
const COLUMNS: [&str; 10] =
    ["live", "modified", "pause p50", "pause p90", "pause max", "drain", "scan", "copy", "ns an object", "durable ms"];

/// The cuts of one configuration, and how long each took to become durable.
struct Cuts {
    cuts: Vec<CutReport>,
    durable_ms: Vec<f64>,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let scale = setting.scale;
    let repeats: usize = scale.pick(2, 15, 41);
    let million = scale.pick(2_000, 1_000_000, 1_000_000);
    let scratch = setting.scratch()?;
    let main =
        Population::create(&Setting::heap_path(scratch.path(), "main"), &Heap::options(), million, OBJECT_BYTES)?;
    let mut report = Report::default();

    let mut modified = Table::new(format!("us; against objects modified; {repeats} rounds"), &COLUMNS);
    let fractions: &[usize] =
        scale.pick(&[100, 1_000], &[100, 1_000, 10_000, 100_000, 1_000_000], &[100, 1_000, 10_000, 100_000, 1_000_000]);
    let headline_count = scale.pick(1_000, 10_000, 10_000);
    let mut headline = None;
    for &count in fractions {
        // The large ones take a second or more a round, and vary little.
        let repeats = if count >= 1_000_000 { repeats.div_ceil(5) } else { repeats };
        let cuts = measure(&main, count, repeats, false)?;
        modified.row(cuts.row(main.objects(), count));
        if count == headline_count {
            headline = Some(cuts);
        }
    }
    report.tables.push(modified);

    let mut live = Table::new(format!("us; against live objects; {repeats} rounds"), &COLUMNS);
    let few = scale.pick(100, 1_000, 1_000);
    let sizes: &[usize] =
        scale.pick(&[1_000, 2_000], &[10_000, 100_000, 1_000_000], &[10_000, 100_000, 1_000_000, 10_000_000]);
    for &objects in sizes {
        let row = if objects == main.objects() {
            measure(&main, few, repeats, false)?.row(objects, few)
        } else {
            let scratch = setting.scratch()?;
            let path = Setting::heap_path(scratch.path(), "live");
            let other = Population::create(&path, &Heap::options(), objects, OBJECT_BYTES)?;
            measure(&other, few, repeats, false)?.row(objects, few)
        };
        live.row(row);
    }
    report.tables.push(live);

    let mut busy = Table::new(format!("us; while another thread reads in short sections; {repeats} rounds"), &COLUMNS);
    for count in [few, headline_count] {
        busy.row(with_reader(&main, || measure(&main, count, repeats, true))?.row(main.objects(), count));
    }
    report.tables.push(busy);

    let cuts = headline.expect("the headline's count is among those measured");
    report.note(format!(
        "tracker {}{}",
        main.tracker()?,
        if tracker_from_environment()?.is_some() { " (STREWN_TRACKER)" } else { "" }
    ));
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
fn measure(population: &Population, count: usize, repeats: usize, busy: bool) -> Result<Cuts> {
    const WARM: usize = 2;
    let mut cuts = Cuts { cuts: Vec::new(), durable_ms: Vec::new() };
    for round in 0..WARM + repeats {
        let picks = population.pick(&mut SmallRng::seed_from_u64(round as u64), count);
        population.modify(&picks, round as u8);
        let (cut, seconds) = population.checkpoint()?;
        settle(busy)?;
        if round >= WARM {
            cuts.cuts.push(cut);
            cuts.durable_ms.push(seconds * 1e3);
        }
    }
    Ok(cuts)
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
    fn quantile(&self, quantile: f64, part: impl Fn(&CutReport) -> u64) -> f64 {
        self.cuts.iter().map(|cut| part(cut) as f64).collect::<Samples>().quantile(quantile)
    }

    fn row(&self, live: usize, modified: usize) -> Vec<Value> {
        let us = |quantile, part: fn(&CutReport) -> u64| figure(self.quantile(quantile, part) / 1e3);
        let durable: Samples = self.durable_ms.iter().copied().collect();
        vec![
            json!(live),
            json!(modified),
            us(0.5, CutReport::pause_ns),
            us(0.9, CutReport::pause_ns),
            us(1.0, CutReport::pause_ns),
            us(0.5, |cut| cut.drain_ns),
            us(0.5, |cut| cut.scan_ns),
            us(0.5, |cut| cut.copy_ns),
            figure(self.quantile(0.5, CutReport::pause_ns) / modified as f64),
            figure(durable.median()),
        ]
    }

    fn made_of(&self, modified: usize) -> String {
        let pause = self.quantile(0.5, CutReport::pause_ns);
        let part = |name, part: fn(&CutReport) -> u64| {
            let ns = self.quantile(0.5, part);
            format!("{name} {:.0} us ({:.0} %)", ns / 1e3, ns * 100.0 / pause)
        };
        let parts =
            [part("drain", |c| c.drain_ns), part("scan and re-arm", |c| c.scan_ns), part("copy", |c| c.copy_ns)];
        format!("the headline's pause, {modified} objects modified, is made of {}", parts.join(", "))
    }
}
