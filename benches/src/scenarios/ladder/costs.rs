//! What objects cost that are born and then left alone, with the ladder (`Mapping::Auto`, the default policy) and without (`Mapping::Pages`,
//! `PolicyKind::Fine`).
//!
//! A round of one side makes a new heap of 64-byte objects and measures, in this order:
//!
//! - `birth`: allocating an object and writing all of it, while the heap grows. The first block of 2 MiB does not count, so that what shows is how growth
//!   goes on;
//! - `arming`: the scan of the first checkpoint, which makes all objects' pages ready to catch the next write;
//! - `clean scan`: the scan of a checkpoint when exactly one object was modified, the same one each time;
//! - page tables: by how much this process's grew since before the heap, once every object has been read;
//! - reading an object at its own address, as in `read`: in the order of allocation, at random, and 4096 neighbours again and again.
//!
//! All but the page tables are nanoseconds an object. Sides take turns, and each aspect is the median of its rounds.
//!
//! Left out: small heaps, where both sides are one; writes, which are [`patterns`](super::patterns); and the copy of the first checkpoint, which is the same.

use super::super::{Setting, read::Pointers};
use super::OBJECT_BYTES;
use crate::machine::{page_table_bytes, settle};
use crate::measure::{Samples, interleave, median_of};
use crate::population::{Picks, Population, shuffled, stamp};
use crate::report::{Promise, Report, Table, figure};
use anyhow::Result;
use serde_json::json;
use std::time::Instant;
use strewn::{Heap, HeapOptions, Mapping, PolicyKind, TrackerKind};

/// Objects of a block: what is left out at the beginning.
const BLOCK_OBJECTS: usize = (2 << 20) / OBJECT_BYTES;
/// Checkpoints with one object modified in each heap, and how many of them do not count.
const CLEAN: usize = 12;
const CLEAN_WARM: usize = 3;
/// Passes of each kind of reading in each heap, and how many of them do not count.
const READS: usize = 4;
const READS_WARM: usize = 1;

/// One heap's figures.
struct Round {
    birth: f64,
    arming: f64,
    clean: f64,
    sequential: f64,
    hot: f64,
    random: f64,
    page_tables: f64,
    huge_blocks: f64,
}

type Aspect = (&'static str, fn(&Round) -> f64);

const ASPECTS: [Aspect; 8] = [
    ("birth, ns", |r| r.birth),
    ("arming, ns", |r| r.arming),
    ("clean scan, ns", |r| r.clean),
    ("read sequential, ns", |r| r.sequential),
    ("read hot, ns", |r| r.hot),
    ("read random, ns", |r| r.random),
    ("page tables, MB", |r| r.page_tables / 1e6),
    ("huge blocks", |r| r.huge_blocks),
];

/// Adds what was found to `report`.
pub fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let objects = setting.scale.pick(8_192, 1_000_000, 1_000_000);
    let repeats = setting.scale.pick(2, 3, 9);
    let order = shuffled(objects, 7);
    let options = Heap::options().tracker(TrackerKind::Async);
    let mut sides = [
        options.clone().mapping(Mapping::Auto).policy(PolicyKind::default()),
        options.mapping(Mapping::Pages).policy(PolicyKind::Fine),
    ];
    let runs = interleave(&mut sides, setting.rounds(1, repeats, 8_000), |side, _| one(setting, side, &order))?;

    let title = format!("{objects} objects of {OBJECT_BYTES} B, left alone; medians of {} heaps each", runs[0].len());
    let mut table = Table::new(title, &["what", "with ladder", "without", "without/with"]);
    let both = |aspect: fn(&Round) -> f64| [median_of(&runs[0], aspect), median_of(&runs[1], aspect)];
    let ratio = |aspect| {
        let [with, without] = both(aspect);
        without / with
    };
    for (name, aspect) in ASPECTS {
        let [with, without] = both(aspect);
        table.row([json!(name), figure(with), figure(without), figure(without / with)]);
    }
    report.tables.push(table);
    if both(|r| r.huge_blocks)[0] == 0.0 {
        report.note("no block became a huge page: both sides are mapped by pages");
    }
    report.headline("ladder.birth_speedup", ratio(|r| r.birth), "ratio", Promise::AtLeast(10.0));
    report.headline("ladder.clean_scan_speedup", ratio(|r| r.clean), "ratio", Promise::AtLeast(4.0));
    Ok(())
}

/// The life of one heap.
fn one(setting: &Setting, options: &HeapOptions, order: &Picks) -> Result<Round> {
    let objects = order.len();
    let scratch = setting.scratch()?;
    let page_tables = page_table_bytes()?;
    let first = BLOCK_OBJECTS.min(objects / 2);
    let path = Setting::heap_path(scratch.path(), "ladder");
    let mut population = Population::create(&path, options, first, OBJECT_BYTES)?;
    population.make_room(objects - first);
    settle(false)?;

    let start = Instant::now();
    population.grow(objects - first)?;
    let birth = start.elapsed().as_nanos() as f64 / (objects - first) as f64;
    let (cut, _) = population.checkpoint()?;
    settle(false)?;
    let arming = cut.scan_ns as f64 / objects as f64;
    let clean = clean_scan(&population)?;

    population.read_all();
    let page_tables = page_table_bytes()?.saturating_sub(page_tables) as f64;
    let section = population.heap().enter();
    // SAFETY: live objects of this size, filled when they were allocated; the heap outlives the pointers, and nobody writes in this section.
    let pointers = unsafe { Pointers::new(population.addresses(), order) };
    let [sequential, hot, random] = [Pointers::sequential, Pointers::hot, Pointers::random]
        .map(|read| median_after(READS_WARM, READS, || read(&pointers)));
    drop(section);
    let huge_blocks = population.heap().stats()?.ladder.huge_blocks as f64;
    Ok(Round { birth, arming, clean, sequential, hot, random, page_tables, huge_blocks })
}

/// Nanoseconds an object, in the pause and beside the running program.
fn clean_scan(population: &Population) -> Result<f64> {
    let one = [population.objects() as u32 / 2];
    let scan = |round| -> Result<f64> {
        let cut = population.modify_durably(&one, stamp(round))?.cut;
        Ok((cut.scan_ns + cut.beside_ns) as f64)
    };
    let scans: Result<Vec<_>> = (0..CLEAN).map(scan).collect();
    let scans: Samples = scans?.into_iter().skip(CLEAN_WARM).collect();
    Ok(scans.median() / population.objects() as f64)
}

/// The median of `passes` of `work`, without the first `warm` ones.
fn median_after(warm: usize, passes: usize, work: impl FnMut() -> f64) -> f64 {
    std::iter::repeat_with(work).take(passes).skip(warm).collect::<Samples>().median()
}
