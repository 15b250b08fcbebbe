//! `typed`: the typed API against the volatile types that it has the names of.
//!
//! A million elements on each side (10 million too, if it is not quick): boxes of 64 B, held in an array, against `Vec<Box>`; an array of `u64` against `Vec`; a map from `u64` to
//! `u64` against hashbrown's, with the default hasher of each. Volatile memory is the system's malloc. Both sides run the same source (`work.rs`), in batches, each batch in a
//! section on strewn's side; the sides take turns. Operations:
//!
//! - `read`: elements in a random order, the same for all sides, summed;
//! - `iterate`: all elements, in order, summed;
//! - `update`: one word of elements in a random order, as for reading;
//! - `insert` and `remove`: elements at the end of an array; new keys of a map.
//!
//! strewn is there twice: writes caught by hardware, and by the write barrier. `none` is between checkpoints: what is written was written before in this epoch, so that no
//! write faults any more. `100 ms` is updates for a quarter of a second, with a checkpoint every 100 ms meanwhile, on a thread of its own, on files; first writes and pauses are in the time
//! then, and on two cores some of the writing to files.
//!
//! The second table is about which way to catch writes is better: a share of the elements is updated once or ten times, and a checkpoint made, again and again.
//!
//! Left out: threads, text, sizes beyond 64 B (see `checkpoint-bytes` for these).

mod crossover;
mod work;

use super::Setting;
use crate::machine::settle;
use crate::measure::{interleave, median_of};
use crate::population::shuffled;
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use strewn::Writes;
use work::{OPERATIONS, Operation, SHAPES, Shape, Side};

/// Between two checkpoints of the rows that have any.
const PACE: Duration = Duration::from_millis(100);
/// Operations of one round. Iterating takes all elements.
const BATCH: usize = 200_000;

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let scale = setting.scale;
    let columns = [
        "elements",
        "shape",
        "operation",
        "checkpoints",
        "volatile",
        "hardware",
        "barrier",
        "hardware/volatile",
        "barrier/volatile",
    ];
    let mut table = Table::new("ns an operation, medians", &columns);
    let (mut worst, mut of_collections) = (Worst::default(), Worst::default());
    for &elements in scale.pick(&[8_192][..], &[1_000_000], &[1_000_000, 10_000_000]) {
        for shape in SHAPES {
            for row in measure(setting, shape, elements)? {
                let [volatile, hardware, barrier] = row.ns;
                let pace = if row.paced { "100 ms" } else { "none" };
                let names = [json!(elements), json!(shape.name()), json!(row.operation.name()), json!(pace)];
                let figures = [volatile, hardware, barrier, hardware / volatile, barrier / volatile].map(figure);
                table.row(names.into_iter().chain(figures));
                worst.note(&row);
                if shape != Shape::Boxes {
                    of_collections.note(&row);
                }
            }
        }
    }
    let mut report = Report { tables: vec![table, crossover::table(setting)?], ..Report::default() };
    report.note("each headline is the worst of the shapes and sizes, in a heap as it is by default: its writes are caught by the barrier, and objects lie in the order of their addresses");
    report.headline("typed.read_vs_volatile", worst.read, "ratio", Promise::AtMost(1.1));
    report.headline("typed.iterate_vs_volatile", worst.iterate, "ratio", Promise::AtMost(1.1));
    report.headline("typed.update_vs_volatile", worst.update, "ratio", Promise::AtMost(1.3));
    report.headline("typed.update_vs_volatile_100ms", worst.update_paced, "ratio", Promise::None);
    report.note("without boxes: only arrays and maps");
    report.headline("typed.read_without_boxes", of_collections.read, "ratio", Promise::AtMost(1.1));
    report.headline("typed.update_without_boxes", of_collections.update, "ratio", Promise::AtMost(1.3));
    Ok(report)
}

/// What one operation costs on each side, in nanoseconds: volatile, hardware, barrier.
struct Row {
    operation: Operation,
    paced: bool,
    ns: [f64; 3],
}

/// The worst ratios to volatile, with the barrier.
#[derive(Clone, Copy, Default)]
struct Worst {
    read: f64,
    iterate: f64,
    update: f64,
    update_paced: f64,
}

impl Worst {
    fn note(&mut self, row: &Row) {
        let [volatile, _, barrier] = row.ns;
        let worst = match (row.operation, row.paced) {
            (Operation::Read, false) => &mut self.read,
            (Operation::Iterate, false) => &mut self.iterate,
            (Operation::Update, false) => &mut self.update,
            (Operation::Update, true) => &mut self.update_paced,
            _ => return,
        };
        *worst = worst.max(barrier / volatile);
    }
}

/// All operations on one shape.
fn measure(setting: &Setting, shape: Shape, elements: usize) -> Result<Vec<Row>> {
    let scratch = setting.scratch()?;
    let heap =
        |writes: Writes, name: &str| Side::heap(&Setting::heap_path(scratch.path(), name), writes, shape, elements);
    let mut sides =
        [Side::volatile(shape, elements), heap(Writes::Hardware, "hardware")?, heap(Writes::Barrier, "barrier")?];
    for side in &sides {
        side.checkpoint()?;
    }
    settle(false)?;
    let order = shuffled(elements, 5);
    let keys = &order[..BATCH.min(elements)];
    let (warm, repeats, quick_ms) = (2, setting.scale.pick(1, 15, 41), 600);
    let mut rows = Vec::new();
    for paced in [false, true] {
        for operations in OPERATIONS {
            if paced && *operations != [Operation::Update] {
                continue;
            }
            let rounds = if paced {
                setting.rounds(1, setting.scale.pick(1, 3, 9), 4_000)
            } else {
                setting.rounds(warm, repeats, quick_ms)
            };
            let runs = interleave(&mut sides, rounds, |side, _| {
                let each = operations.iter().map(|operation| side.round(*operation, keys, paced.then_some(PACE)));
                each.collect::<Result<Vec<f64>>>()
            })?;
            for (i, operation) in operations.iter().enumerate() {
                let ns = [0, 1, 2].map(|side| median_of(&runs[side], |ns| ns[i]));
                rows.push(Row { operation: *operation, paced, ns });
            }
        }
    }
    Ok(rows)
}
