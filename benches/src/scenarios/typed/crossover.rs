//! Which way to catch writes is better, by how much is written between two checkpoints.

use super::work::{Shape, Side, boxes};
use crate::measure::{interleave, median_of};
use crate::population::shuffled;
use crate::report::{Table, figure};
use crate::scenarios::Setting;
use anyhow::Result;
use serde_json::json;
use std::time::Instant;
use strewn::Writes;

/// Of one epoch, in microseconds.
struct Epoch {
    writing: f64,
    pause: f64,
}

/// Measures boxes of 64 B.
pub fn table(setting: &Setting) -> Result<Table> {
    let elements = setting.scale.pick(8_192, 1_000_000, 1_000_000);
    let scratch = setting.scratch()?;
    let side = |writes: Writes, name: &str| {
        let side = Side::heap(&Setting::heap_path(scratch.path(), name), writes, Shape::Boxes, elements)?;
        side.checkpoint()?;
        Ok::<_, anyhow::Error>(side)
    };
    let mut sides = [side(Writes::Hardware, "hardware")?, side(Writes::Barrier, "barrier")?];
    let columns = [
        "updated",
        "times each",
        "writing, hardware",
        "writing, barrier",
        "pause, hardware",
        "pause, barrier",
        "both, barrier/hardware",
    ];
    let title =
        format!("us an epoch: {elements} boxes of 64 B, so many of them updated at random, then a checkpoint; medians");
    let mut table = Table::new(title, &columns);
    let order = shuffled(elements, 6);
    for updated in [100, 1_000, 10_000, 100_000, 1_000_000] {
        if updated > elements {
            continue;
        }
        for times in [1, 10] {
            let rounds = setting.rounds(3, setting.scale.pick(1, 9, 31), 500);
            let runs = interleave(&mut sides, rounds, |side, round| {
                // Other ones each time, until all had their turn.
                let from = (round * updated) % (elements - updated + 1);
                epoch(side, &order[from..][..updated], times)
            })?;
            let of = |side: usize| (median_of(&runs[side], |e| e.writing), median_of(&runs[side], |e| e.pause));
            let (hardware, barrier) = (of(0), of(1));
            let ratio = (barrier.0 + barrier.1) / (hardware.0 + hardware.1);
            let figures = [hardware.0, barrier.0, hardware.1, barrier.1, ratio].map(figure);
            table.row([json!(updated), json!(times)].into_iter().chain(figures));
        }
    }
    Ok(table)
}

fn epoch(side: &Side, keys: &[u32], times: u64) -> Result<Epoch> {
    let heap = side.heap_of().expect("both are in heaps");
    let root = boxes(heap)?;
    let section = heap.enter();
    let mut all = root.write(&section)?;
    let begin = Instant::now();
    for _ in 0..times {
        keys.iter().for_each(|key| all[*key as usize][0] += 1);
    }
    let writing = begin.elapsed().as_nanos() as f64 / 1e3;
    drop(all);
    drop(section);
    let report = heap.checkpoint()?;
    Ok(Epoch { writing, pause: report.pause_ns() as f64 / 1e3 })
}
