//! `read`: reading objects through their lanes, through the dense lane, and in plain boxes.
//!
//! A million 64-byte objects on each side. The dense lane shows the same frames as the lanes, by another address: the object's address with the lane bits
//! cleared. All three are read by the same loops over an array of pointers, one word an object:
//!
//! - `sequential`: in the order of allocation;
//! - `random`: in one random order, the pointers shuffled, so that loads do not depend on each other;
//! - `hot`: 4096 neighbours in the order of allocation, again and again;
//! - `chase`: each object holds the pointer to the next one of the random order, so that each load waits for the last.
//!
//! Boxes are allocated one by one by the global allocator (the system's malloc). The heap has made its checkpoint: its pages are armed and not written.
//! Left out: writes, and reads of objects larger than the line they are read from.

use super::Setting;
use crate::machine::settle;
use crate::measure::{interleave, median_of};
use crate::population::Population;
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::json;
use std::hint::black_box;
use std::time::Instant;
use strewn::Heap;

/// An object: where the next one is, seen through its lane and through the dense lane; and a value.
type Object = [usize; 8];
const NEXT_BY_LANE: usize = 0;
const NEXT_DENSE: usize = 1;
const VALUE: usize = 2;

/// Clears an address's lane: what is left is the dense lane.
const DENSE: usize = !(0x1FF << 30);
const HOT: usize = 4096;
/// Steps of a chase. The next one goes on from there, so that in time all objects are visited.
const CHASE: usize = 100_000;

/// One way to reach the objects.
struct Side {
    name: &'static str,
    sequential: Vec<*const Object>,
    random: Vec<*const Object>,
    /// The word that holds the pointer to the next object.
    next: usize,
    /// Where the last chase ended.
    at: *const Object,
}

/// Nanoseconds a read.
struct Round {
    sequential: f64,
    random: f64,
    hot: f64,
    chase: f64,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let objects = setting.scale.pick(8_192, 1_000_000, 1_000_000);
    let repeats = setting.scale.pick(2, 41, 41);
    let scratch = setting.scratch()?;
    let path = Setting::heap_path(scratch.path(), "read");
    let population = Population::create(&path, &Heap::options(), objects, size_of::<Object>())?;
    let mut boxes: Vec<Box<Object>> = (0..objects).map(|_| Box::new([1; 8])).collect();
    let mut order: Vec<usize> = (0..objects).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(7));

    let lane: Vec<usize> = population.addresses().to_vec();
    let dense: Vec<usize> = lane.iter().map(|address| address & DENSE).collect();
    let in_box: Vec<usize> = boxes.iter_mut().map(|object| (&raw mut **object).expose_provenance()).collect();
    let section = population.heap().enter();
    link(&lane, &order, [&lane, &dense]);
    drop(section);
    link(&in_box, &order, [&in_box, &in_box]);
    population.checkpoint()?;
    settle(false)?;

    let mut sides = [
        Side::new("lanes", &lane, &order, NEXT_BY_LANE),
        Side::new("dense lane", &dense, &order, NEXT_DENSE),
        Side::new("boxes", &in_box, &order, NEXT_BY_LANE),
    ];
    let section = population.heap().enter();
    let rounds = interleave(&mut sides, setting.rounds(2, repeats, 8_000), |side, _| Ok(side.round()))?;
    drop(section);
    drop(boxes);

    let columns = ["through", "sequential", "hot", "random", "chase"];
    let (size, count) = (size_of::<Object>(), rounds[0].len());
    let title = format!("ns a read; {objects} objects of {size} B; medians of {count} rounds");
    let mut table = Table::new(title, &columns);
    let mut ratios = Table::new("against boxes", &columns);
    let medians = |rounds: &Vec<Round>| {
        [|r: &Round| r.sequential, |r: &Round| r.hot, |r: &Round| r.random, |r: &Round| r.chase]
            .map(|f| median_of(rounds, f))
    };
    let baseline = medians(&rounds[2]);
    for (side, rounds) in sides.iter().zip(&rounds) {
        let medians = medians(rounds);
        let name = [json!(side.name)];
        table.row(name.clone().into_iter().chain(medians.map(figure)));
        ratios.row(name.into_iter().chain(medians.iter().zip(baseline).map(|(ns, boxes)| figure(ns / boxes))));
    }
    let random = |side: usize| median_of(&rounds[side], |r| r.random);
    let mut report = Report { tables: vec![table, ratios], ..Report::default() };
    report.note(format!("tracker {}; with `page`, addresses are dense and both ways are one", population.tracker()?));
    report.headline("read.dense_vs_box_random", random(1) / random(2), "ratio", Promise::AtMost(1.1));
    report.headline("read.lane_vs_box_random", random(0) / random(2), "ratio", Promise::None);
    Ok(report)
}

/// Writes into each object its value, and the next address of `order` by both ways to reach it. The last object leads to the first.
fn link(objects: &[usize], order: &[usize], ways: [&[usize]; 2]) {
    for (at, &index) in order.iter().enumerate() {
        let next = order[(at + 1) % order.len()];
        let object = std::ptr::with_exposed_provenance_mut::<Object>(objects[index]);
        // SAFETY: the address is that of a live object of this layout, which nobody refers to meanwhile.
        unsafe { object.write([ways[0][next], ways[1][next], index, 0, 0, 0, 0, 0]) };
    }
}

impl Side {
    fn new(name: &'static str, addresses: &[usize], order: &[usize], next: usize) -> Self {
        let pointer = |address: &usize| std::ptr::with_exposed_provenance::<Object>(*address);
        let sequential: Vec<_> = addresses.iter().map(pointer).collect();
        let random = order.iter().map(|index| sequential[*index]).collect();
        Self { name, at: sequential[order[0]], sequential, random, next }
    }

    fn round(&mut self) -> Round {
        let steps = self.random.len().min(CHASE);
        let hot = &self.sequential[..HOT];
        Round {
            sequential: per_read(self.sequential.len(), || sum(&self.sequential)),
            random: per_read(self.random.len(), || sum(&self.random)),
            hot: per_read(HOT * 16, || (0..16).map(|_| sum(black_box(hot))).fold(0, usize::wrapping_add)),
            chase: per_read(steps, || {
                self.at = chase(self.at, self.next, steps);
                self.at.addr()
            }),
        }
    }
}

/// Nanoseconds a read of `work`.
fn per_read(reads: usize, work: impl FnOnce() -> usize) -> f64 {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed().as_nanos() as f64 / reads as f64
}

fn sum(objects: &[*const Object]) -> usize {
    // SAFETY: every pointer leads to a live object that was written by `link`, and nobody writes one while sides are measured.
    objects.iter().fold(0, |sum, object| sum.wrapping_add(unsafe { (**object)[VALUE] }))
}

fn chase(first: *const Object, next: usize, steps: usize) -> *const Object {
    let mut at = first;
    for _ in 0..steps {
        // SAFETY: as in `sum`; `link` made each object lead to a live one of the same side.
        at = std::ptr::with_exposed_provenance(unsafe { (&(*at))[next] });
    }
    at
}
