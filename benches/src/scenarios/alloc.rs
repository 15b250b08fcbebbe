//! `alloc`: allocating and freeing, against the system's malloc and mimalloc.
//!
//! A round of one side: allocate so many objects of one size, then free them all, in one section on strewn's side. Time divided by objects is the cost of
//! a pair. Sides take turns; each thread is a thread that stays, so that its caches are warm, and two threads start each round together. Patterns:
//!
//! - `lifo`: freed in reverse order of allocation, objects not touched;
//! - `random`: freed in a random order, the same each round;
//! - `random, written`: likewise, and the first word of each object is written when it is allocated. In a heap with lanes every object is on a page of its
//!   own, so this costs TLB misses that malloc does not have.
//!
//! Malloc is told to keep what is freed (`M_TRIM_THRESHOLD`): by default it would return whole rounds to the system and fault them in again, which is
//! not warm, and up to a hundred times slower.
//!
//! The second table is about slots that were never used: a new heap, allocate and write the first word, the system's malloc with memory trimmed
//! before. That is where strewn pays for its page tables.
//!
//! Left out: checkpoints in between (they take what lies in thread caches into account, see `pause`; and the first write after one faults, see
//! `first-write`), and objects freed by other threads than the one that allocated them.

use super::Setting;
use crate::machine::settle;
use crate::measure::{Rounds, Samples, interleave};
use crate::report::{Promise, Report, Table, figure};
use anyhow::{Context, Result};
use mimalloc::MiMalloc;
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::time::Instant;
use strewn::Heap;

/// Pairs of a round; fewer of large objects, so that a round stays within this many bytes.
const PAIRS: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;
const SIDES: [Allocator; 3] = [Allocator::Strewn, Allocator::Malloc, Allocator::Mimalloc];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Allocator {
    Strewn,
    Malloc,
    Mimalloc,
}

#[derive(Clone, Copy, PartialEq)]
enum Pattern {
    Lifo,
    Random,
    RandomWritten,
}

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let scale = setting.scale;
    keep_freed_memory();
    let scratch = setting.scratch()?;
    let heap = Heap::create(Setting::heap_path(scratch.path(), "alloc"))?;
    let repeats: usize = scale.pick(2, 21, 101);
    let columns = ["size", "threads", "pattern", "strewn", "malloc", "mimalloc", "strewn/malloc", "strewn/mimalloc"];
    let mut table = Table::new(format!("ns for allocate + free, warm; medians of {repeats} rounds"), &columns);
    let mut report = Report::default();
    let patterns = [(Pattern::Lifo, "lifo"), (Pattern::Random, "random"), (Pattern::RandomWritten, "random, written")];
    let sizes: &[usize] = scale.pick(
        &[16, 64, 2048, 65536],
        &[16, 64, 256, 1024, 4096, 65536],
        &[16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 65536],
    );
    let mut worst = 0f64;
    for &size in sizes {
        for threads in [1, 2] {
            for (pattern, name) in patterns {
                // Page runs are slower by orders of magnitude; as many rounds would take minutes.
                let repeats = if size > 2048 { repeats.div_ceil(8) } else { repeats };
                let [strewn, malloc, mimalloc] = warm(&heap, size, threads, pattern, repeats)?;
                let figures = [strewn, malloc, mimalloc, strewn / malloc, strewn / mimalloc].map(figure);
                table.row([json!(size), json!(threads), json!(name)].into_iter().chain(figures));
                if (size, threads) == (64, 1) && pattern != Pattern::RandomWritten {
                    worst = worst.max(strewn / malloc);
                }
            }
        }
    }
    report.tables.push(table);
    report.tables.push(fresh(setting)?);
    report.note("the headline is the worse of lifo and random, 64 B, one thread; two threads each do the same work, and the mean of both is shown");
    report.note("sizes above 2048 B are page runs in strewn");
    report.headline("alloc.vs_malloc_64b", worst, "ratio", Promise::AtMost(2.0));
    Ok(report)
}

fn keep_freed_memory() {
    // SAFETY: sets two numbers of the system's malloc. Both are accepted; if one were not, malloc would only be slower.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 24);
    }
}

/// Nanoseconds a pair by side.
fn warm(heap: &Heap, size: usize, threads: usize, pattern: Pattern, repeats: usize) -> Result<[f64; 3]> {
    const WARM: usize = 3;
    let layout = Layout::from_size_align(size, 16)?;
    let pairs = PAIRS.min(BYTES_MAX / size);
    let start = Barrier::new(threads);
    let one_thread = |seed: usize| {
        let mut order: Vec<u32> = (0..pairs as u32).rev().collect();
        if pattern != Pattern::Lifo {
            order.shuffle(&mut SmallRng::seed_from_u64(seed as u64));
        }
        let mut objects = vec![std::ptr::null_mut(); pairs];
        let write = pattern == Pattern::RandomWritten;
        interleave(&mut SIDES.clone(), Rounds::all(WARM, repeats), |side, _| {
            start.wait();
            Ok(match side {
                Allocator::Strewn => strewn_round(heap, layout, &mut objects, &order, write),
                // SAFETY: malloc takes any size; what a round frees, it allocated.
                Allocator::Malloc => round(
                    &mut objects,
                    &order,
                    write,
                    || unsafe { libc::malloc(size) }.cast(),
                    |object| unsafe {
                        libc::free(object.cast());
                    },
                ),
                // SAFETY: the layout has a size; what a round frees, it allocated with the same layout.
                Allocator::Mimalloc => round(
                    &mut objects,
                    &order,
                    write,
                    || unsafe { MiMalloc.alloc(layout) },
                    |object| unsafe {
                        MiMalloc.dealloc(object, layout);
                    },
                ),
            })
        })
    };
    let runs = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|seed| scope.spawn(move || one_thread(seed))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no round panics")).collect::<Result<Vec<_>>>()
    })?;
    Ok(std::array::from_fn(|side| {
        let rounds = (0..repeats).map(|i| runs.iter().map(|thread| thread[side][i]).sum::<f64>() / threads as f64);
        rounds.collect::<Samples>().median()
    }))
}

fn strewn_round(heap: &Heap, layout: Layout, objects: &mut [*mut u8], order: &[u32], write: bool) -> f64 {
    let section = heap.enter();
    let alloc = || section.alloc(layout).map_or(std::ptr::null_mut(), NonNull::as_ptr);
    // SAFETY: what a round frees, it allocated in this heap.
    round(objects, order, write, alloc, |object| unsafe { section.dealloc(NonNull::new_unchecked(object)) })
}

/// One round; nanoseconds a pair.
fn round(
    objects: &mut [*mut u8],
    order: &[u32],
    write: bool,
    alloc: impl Fn() -> *mut u8,
    free: impl Fn(*mut u8),
) -> f64 {
    let begin = Instant::now();
    for object in objects.iter_mut() {
        *object = black_box(alloc());
        assert!(!object.is_null(), "out of memory");
        if write {
            // SAFETY: just allocated, at least 16 bytes, aligned to 16.
            unsafe { object.cast::<u64>().write(1) };
        }
    }
    for index in order {
        free(black_box(objects[*index as usize]));
    }
    begin.elapsed().as_nanos() as f64 / objects.len() as f64
}

/// What a never used object costs, written once.
fn fresh(setting: &Setting) -> Result<Table> {
    let objects = setting.scale.pick(2_000, 200_000, 1_000_000);
    let repeats = setting.scale.pick(1, 3, 9);
    let title =
        format!("fresh: ns for allocate + first write of {objects} new objects; medians of up to {repeats} new heaps");
    let mut table = Table::new(title, &["size", "strewn", "malloc", "strewn/malloc"]);
    for size in [16, 64, 256, 1024] {
        let objects = objects.min((256 << 20) / size);
        let mut sides = [Allocator::Strewn, Allocator::Malloc];
        let runs = interleave(&mut sides, setting.rounds(1, repeats, 1_000), |side, _| match side {
            Allocator::Strewn => fresh_strewn(setting, size, objects),
            _ => Ok(fresh_malloc(size, objects)),
        })?;
        let [strewn, malloc] = [0, 1].map(|side| runs[side].iter().copied().collect::<Samples>().median());
        table.row([json!(size), figure(strewn), figure(malloc), figure(strewn / malloc)]);
    }
    Ok(table)
}

fn fresh_strewn(setting: &Setting, size: usize, objects: usize) -> Result<f64> {
    let scratch = setting.scratch()?;
    let heap = Heap::create(Setting::heap_path(scratch.path(), "fresh"))?;
    let layout = Layout::from_size_align(size, 16)?;
    settle(false)?;
    let begin = Instant::now();
    let section = heap.enter();
    for _ in 0..objects {
        let object = section.alloc(layout).context("a fresh object")?;
        // SAFETY: just allocated, at least 16 bytes, aligned to 16.
        unsafe { object.cast::<u64>().write(1) };
    }
    Ok(begin.elapsed().as_nanos() as f64 / objects as f64)
}

fn fresh_malloc(size: usize, objects: usize) -> f64 {
    let mut all = vec![std::ptr::null_mut::<libc::c_void>(); objects];
    // SAFETY: no precondition.
    unsafe { libc::malloc_trim(0) };
    let begin = Instant::now();
    for object in &mut all {
        // SAFETY: malloc takes any size.
        *object = unsafe { libc::malloc(size) };
        assert!(!object.is_null(), "out of memory");
        // SAFETY: just allocated, at least 16 bytes, aligned to 16.
        unsafe { object.cast::<u64>().write(1) };
    }
    let elapsed = begin.elapsed();
    for object in all {
        // SAFETY: allocated above, freed once.
        unsafe { libc::free(object) };
    }
    elapsed.as_nanos() as f64 / objects as f64
}
