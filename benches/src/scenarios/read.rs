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
use crate::population::{Population, shuffled};
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
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

/// Where objects lie, in two orders of reading.
pub(super) struct Pointers {
    sequential: Vec<*const Object>,
    random: Vec<*const Object>,
}

/// One way to reach the objects.
struct Side {
    name: &'static str,
    pointers: Pointers,
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
    let order = shuffled(objects, 7);

    let lane: Vec<usize> = population.addresses().to_vec();
    let dense: Vec<usize> = lane.iter().map(|address| address & DENSE).collect();
    let in_box: Vec<usize> = boxes.iter_mut().map(|object| (&raw mut **object).expose_provenance()).collect();
    let section = population.heap().enter();
    link(&lane, &order, [&lane, &dense]);
    drop(section);
    link(&in_box, &order, [&in_box, &in_box]);
    population.checkpoint()?;
    settle(false)?;

    let side = |name, addresses: &[usize], next| {
        // SAFETY: live objects, linked above; they are read while neither the heap nor a box has been dropped, and nobody writes them.
        Side::new(name, unsafe { Pointers::new(addresses, &order) }, next)
    };
    let mut sides = [
        side("lanes", &lane, NEXT_BY_LANE),
        side("dense lane", &dense, NEXT_DENSE),
        side("boxes", &in_box, NEXT_BY_LANE),
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
    report.headline("read.lane_vs_box_random", random(0) / random(2), "ratio", Promise::AtMost(1.3));
    Ok(report)
}

/// Writes into each object its value, and the next address of `order` by both ways to reach it. The last object leads to the first.
fn link(objects: &[usize], order: &[u32], ways: [&[usize]; 2]) {
    for (at, &index) in order.iter().enumerate() {
        let [index, next] = [index, order[(at + 1) % order.len()]].map(|index| index as usize);
        let object = std::ptr::with_exposed_provenance_mut::<Object>(objects[index]);
        // SAFETY: the address is that of a live object of this layout, which nobody refers to meanwhile.
        unsafe { object.write([ways[0][next], ways[1][next], index, 0, 0, 0, 0, 0]) };
    }
}

impl Pointers {
    /// To the objects at `addresses`, which are read as they stand there and in `order`.
    ///
    /// # Safety
    /// Each address is that of an [`Object`] whose bytes were written, and which lives and is not written while the pointers are read through.
    pub(super) unsafe fn new(addresses: &[usize], order: &[u32]) -> Self {
        let pointer = |address: &usize| std::ptr::with_exposed_provenance::<Object>(*address);
        let sequential: Vec<_> = addresses.iter().map(pointer).collect();
        let random = order.iter().map(|index| sequential[*index as usize]).collect();
        Self { sequential, random }
    }

    /// Nanoseconds a read, in the order of the addresses.
    pub(super) fn sequential(&self) -> f64 {
        per_read(self.sequential.len(), || sum(&self.sequential))
    }

    /// Nanoseconds a read, in the random order.
    pub(super) fn random(&self) -> f64 {
        per_read(self.random.len(), || sum(&self.random))
    }

    /// Nanoseconds a read of the first few addresses, again and again.
    pub(super) fn hot(&self) -> f64 {
        let hot = &self.sequential[..HOT];
        per_read(HOT * 16, || (0..16).map(|_| sum(black_box(hot))).fold(0, usize::wrapping_add))
    }
}

impl Side {
    fn new(name: &'static str, pointers: Pointers, next: usize) -> Self {
        Self { name, at: pointers.random[0], pointers, next }
    }

    fn round(&mut self) -> Round {
        let steps = self.pointers.random.len().min(CHASE);
        Round {
            sequential: self.pointers.sequential(),
            random: self.pointers.random(),
            hot: self.pointers.hot(),
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
    // SAFETY: `Pointers::new` was promised that.
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
