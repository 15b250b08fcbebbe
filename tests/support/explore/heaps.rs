//! Whole heaps on a simulated disk: allocator, tracker, cut, writer, store and recovery together.
//!
//! A `HeapHistory` is what a program did to a heap, with a fault or without, and what it was promised; [`explore_heaps`] opens what crashes leave of it. A heap is opened where it
//! was created: the caller sees to it that nobody else in the process has one open ([`alone`](crate::process::alone)).

use super::{Caught, Tally};
use crate::memory::{object, pattern, read, write};
use crate::sim::volume::random_fate;
use crate::sim::{Coins, Fault, Op, SimDisk, Volume};
use crate::store_model::path;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use strewn::{ErrorKind, Heap, HeapOptions, testing};

/// What is to happen.
#[derive(Clone, Debug)]
pub struct HeapPlan {
    /// How heaps are created and opened.
    pub options: HeapOptions,
    /// Checkpoints that are tried.
    pub checkpoints: u64,
    /// Objects of one size at the start, and their bytes.
    pub crowd: (u64, usize),
    /// Once in how many checkpoints the disk is full; 0 for never.
    pub full_one_in: u64,
    /// Crash states that are looked at.
    pub states: u64,
}

/// Live objects, by address.
type Contents = BTreeMap<u64, Vec<u8>>;

struct Attempt {
    epoch: u64,
    contents: Arc<Contents>,
    begun: usize,
    acked: Option<usize>,
}

struct HeapHistory {
    ops: Vec<Op>,
    attempts: Vec<Attempt>,
}

/// Crash states of the histories of these seeds.
///
/// # Errors
/// The first state that opens as something else than what was promised.
pub fn explore_heaps(plan: &HeapPlan, seeds: Range<u64>) -> Result<Tally, Box<Caught>> {
    let mut tally = Tally::default();
    for seed in seeds {
        let caught = |what, tally| Box::new(Caught { what: format!("seed {seed}: {what}"), tally });
        let history = record(plan, seed).map_err(|what| caught(what, tally))?;
        tally.histories += 1;
        let coins = &mut Coins::new(seed);
        let mut cuts: Vec<usize> =
            (0..plan.states).map(|_| coins.below(history.ops.len() as u64 + 1) as usize).collect();
        cuts.sort_unstable();
        let (mut volume, mut done) = (Volume::default(), 0);
        for cut in cuts {
            history.ops[done..cut].iter().for_each(|op| volume.apply(op));
            done = cut;
            let after = if coins.one_in(4) { volume.clone() } else { volume.after_power_cut(&mut random_fate(coins)) };
            tally.cuts += 1;
            tally.states += 1;
            history
                .check(plan, after, cut)
                .map_err(|what| caught(format!("cut at operation {cut} of {}: {what}", history.ops.len()), tally))?;
        }
    }
    Ok(tally)
}

impl HeapHistory {
    fn check(&self, plan: &HeapPlan, state: Volume, cut: usize) -> Result<(), String> {
        let begun = || self.attempts.iter().filter(|attempt| attempt.begun <= cut);
        let acked = begun().filter(|attempt| attempt.acked.is_some_and(|at| at <= cut)).map(|attempt| attempt.epoch);
        let least = acked.max();
        let heap = match testing::open(&plan.options, &SimDisk::of(state).place(), path()) {
            Ok(heap) => heap,
            Err(e) if e.kind() == ErrorKind::NotFound && least.is_none() => return Ok(()),
            Err(e) => return Err(format!("opening the heap: {e:?}")),
        };
        heap.check();
        let stats = heap.stats().map_err(|e| e.to_string())?;
        let least = least.unwrap_or(0);
        let found = begun().rfind(|attempt| attempt.epoch == stats.epoch && attempt.epoch >= least);
        let Some(found) = found else {
            return Err(format!("epoch {} was found, {least} was acknowledged", stats.epoch));
        };
        compare(&heap, &found.contents).map_err(|what| format!("epoch {}: {what}", stats.epoch))?;
        // It goes on: what is written now must be there after the next crash as well.
        let mut work = Work { heap, contents: Contents::clone(&found.contents), first: Arc::default() };
        let coins = &mut Coins::new(cut as u64);
        (0..20).for_each(|_| work.step(coins));
        work.heap.checkpoint().map_err(|e| format!("going on: {e:?}"))?;
        work.heap.check();
        compare(&work.heap, &work.contents).map_err(|what| format!("going on: {what}"))
    }
}

/// Compares what is live with what must be.
fn compare(heap: &Heap, expected: &Contents) -> Result<(), String> {
    let live = heap.stats().map_err(|e| e.to_string())?.live_objects;
    if live != expected.len() as u64 {
        return Err(format!("{live} live objects, not {}", expected.len()));
    }
    let section = heap.enter();
    for (addr, bytes) in expected {
        if section.usable_bytes(object(*addr)).is_none_or(|usable| usable < bytes.len()) {
            return Err(format!("no object of {} bytes at {addr:#x}", bytes.len()));
        }
        // SAFETY: a live object of at least that length; one thread.
        let found = unsafe { read(*addr, bytes.len()) };
        if let Some(i) = (0..bytes.len()).find(|i| found[*i] != bytes[*i]) {
            return Err(format!("byte {i} of the object at {addr:#x} is {:#04x}, not {:#04x}", found[i], bytes[i]));
        }
    }
    Ok(())
}

/// A heap and what it holds.
struct Work {
    heap: Heap,
    contents: Contents,
    /// What some objects held at the start: a write may make them again what an old image has.
    first: Arc<Contents>,
}

impl Work {
    fn alloc(&mut self, size: usize, seed: u64) {
        let section = self.heap.enter();
        let layout = Layout::from_size_align(size, 8).expect("a small layout");
        let addr = section.alloc(layout).expect("room in memory").as_ptr().expose_provenance() as u64;
        let bytes = pattern(seed, size);
        // SAFETY: just allocated, for this layout.
        unsafe { write(addr, &bytes) };
        drop(section);
        assert!(self.contents.insert(addr, bytes).is_none(), "{addr:#x} was handed out twice");
    }

    /// One random operation.
    fn step(&mut self, coins: &mut Coins) {
        let draw = coins.below(10);
        let from = coins.next() >> 16;
        let at = self.contents.range(from % (1 << 47)..).next().or(self.contents.iter().next()).map(|(addr, _)| *addr);
        // Addresses are far from evenly spread: step on from there at random.
        let at = at.and_then(|at| {
            self.contents.range(at..).nth(coins.below(200) as usize).map(|(addr, _)| *addr).or(Some(at))
        });
        match at {
            Some(addr) if draw < 6 => {
                let len = self.contents[&addr].len();
                let start = coins.below(len as u64) as usize;
                let end = len.min(start + 1 + coins.below(40) as usize);
                let (start, bytes) = match self.first.get(&addr) {
                    Some(first) if first.len() == len && coins.one_in(2) => (0, first.clone()),
                    _ => (start, pattern(coins.next(), end - start)),
                };
                self.contents.get_mut(&addr).expect("live")[start..start + bytes.len()].copy_from_slice(&bytes);
                let _section = self.heap.enter();
                // SAFETY: within a live object; one thread.
                unsafe { write(addr + start as u64, &bytes) };
            }
            Some(addr) if draw < 8 => {
                self.contents.remove(&addr);
                // SAFETY: a live object, and the model has forgotten it.
                unsafe { self.heap.enter().dealloc(object(addr)) };
            }
            _ => {
                let size = [8, 40, 64, 64, 64, 200, 1000, 3000][coins.below(8) as usize];
                (0..1 + coins.below(6)).for_each(|i| self.alloc(size, coins.next() ^ i));
            }
        }
    }
}

/// Does what `plan` says, with the choices of `seed`.
fn record(plan: &HeapPlan, seed: u64) -> Result<HeapHistory, String> {
    let (disk, coins) = (SimDisk::new(), &mut Coins::new(seed));
    let at = || disk.counts().1;
    let mut attempts = vec![Attempt { epoch: 0, contents: Arc::default(), begun: 0, acked: None }];
    let heap =
        testing::create(&plan.options, &disk.place(), path()).map_err(|e| format!("creating the heap: {e:?}"))?;
    attempts[0].acked = Some(at());
    let mut work = Work { heap, contents: Contents::new(), first: Arc::default() };
    (0..plan.crowd.0).for_each(|i| work.alloc(plan.crowd.1, i));
    work.first = Arc::new(work.contents.clone());
    for _ in 0..plan.checkpoints {
        (0..coins.below(60)).for_each(|_| work.step(coins));
        let full = plan.full_one_in > 0 && coins.one_in(plan.full_one_in);
        let room = Fault { op: None, space: full.then(|| disk.volume().used() + coins.below(3000)) };
        disk.set_fault(room);
        let (begun, contents) = (at(), Arc::new(work.contents.clone()));
        let done = work.heap.checkpoint();
        disk.set_fault(Fault::default());
        let epoch = work.heap.stats().map_err(|e| e.to_string())?.epoch;
        let acked = match done {
            Ok(_) => Some(at()),
            Err(e) if full && e.kind() == ErrorKind::StorageFull => None,
            Err(e) => return Err(format!("a checkpoint: {e:?}")),
        };
        attempts.push(Attempt { epoch, contents, begun, acked });
    }
    drop(work);
    Ok(HeapHistory { ops: disk.journal(), attempts })
}
