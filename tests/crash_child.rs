//! Works on the banks of several heaps until it is killed, and says on standard output which generations are durable.
//!
//! Usage: `strewn-crash-child TRACKER SEED LADDER HEAP...`. Prints `open` once all heaps are, then `durable HEAP GENERATION FOLDS` for each checkpoint, the heap by its
//! number, followed by `HUGE WAKES REFINED EAGER`: blocks that are huge pages, and what the ladder has done.
//!
//! Each heap has threads of its own. `LADDER` is `-`, or `MAPPING,POLICY`: then one thread of each heap works on the bank's crowd, in phases, and all rest while that is idle.

use anyhow::Context;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strewn::{Heap, Ticket, TrackerKind, Writes};
use strewn_tests::bank::{Bank, Phase};
use strewn_tests::trackers::options;

/// Small, so that kills often hit a fold.
const LOG_BYTES: u64 = 16 << 10;
/// The same for the crowd, which is larger.
const CROWD_LOG_BYTES: u64 = 256 << 10;
/// Of each heap; and one more makes its checkpoints.
const WORKERS: u64 = 2;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tracker, seed, ladder, paths @ ..] = &arguments[..] else {
        anyhow::bail!("usage: TRACKER SEED LADDER HEAP...")
    };
    let tracker: TrackerKind = tracker.parse()?;
    let (options, crowded) = match ladder.split_once(',') {
        None => (options(tracker, LOG_BYTES), false),
        Some((mapping, policy)) => {
            // Objects that are allocated together are in few lane-blocks then, so that the ladder has something to do.
            let options = options(tracker, CROWD_LOG_BYTES).writes(Writes::Hardware);
            (options.mapping(mapping.parse()?).policy(policy.parse()?), true)
        }
    };
    let mut rng = SmallRng::seed_from_u64(seed.parse().context("SEED")?);
    // All of them before anything is allocated, which could take the place of one that is yet to be opened.
    let heaps = paths.iter().map(|path| options.open_or_create(Path::new(path))).collect::<Result<Vec<Heap>, _>>()?;
    let banks = heaps.iter().map(Bank::open).collect::<Result<Vec<Bank<'_>>, _>>()?;
    tell("open");
    std::thread::scope(|scope| {
        for (number, (heap, bank)) in heaps.iter().zip(&banks).enumerate() {
            // Which phase the crowd is in, as an index.
            let phase = Arc::new(AtomicUsize::new(1));
            for worker in 0..WORKERS {
                let (phase, mut rng) = (phase.clone(), SmallRng::seed_from_u64(rng.random::<u64>()));
                scope.spawn(move || or_end(work(bank, crowded, worker == 0, &phase, &mut rng)));
            }
            let mut rng = SmallRng::seed_from_u64(rng.random::<u64>());
            scope.spawn(move || or_end(checkpoints(number, heap, bank, &phase, &mut rng)));
        }
    });
    Ok(())
}

/// Ends the process, which the supervisor takes for a failure.
fn or_end(outcome: anyhow::Result<()>) {
    if let Err(e) = outcome {
        eprintln!("{e:?}");
        std::process::exit(1);
    }
}

fn work(bank: &Bank<'_>, crowded: bool, first: bool, phase: &AtomicUsize, rng: &mut SmallRng) -> anyhow::Result<()> {
    loop {
        let phase = Phase::ALL[phase.load(Ordering::Relaxed)];
        let idle = crowded && phase == Phase::Idle;
        match first {
            _ if idle => (),
            true if crowded => bank.work_on_crowd(phase, rng)?,
            _ => bank.work(rng)?,
        }
        // Many small checkpoints show more than few large ones.
        if idle || rng.random_range(0..4) == 0 {
            std::thread::sleep(Duration::from_micros(150));
        }
    }
}

fn checkpoints(
    number: usize,
    heap: &Heap,
    bank: &Bank<'_>,
    phase: &AtomicUsize,
    rng: &mut SmallRng,
) -> anyhow::Result<()> {
    let mut tickets: VecDeque<(u64, Ticket)> = VecDeque::new();
    loop {
        if rng.random_range(0..6) == 0 {
            phase.store(rng.random_range(0..Phase::ALL.len()), Ordering::Relaxed);
        }
        let generation = bank.next_generation();
        if rng.random_range(0..3) == 0 {
            tickets.push_back((generation, heap.checkpoint_async()?));
        } else {
            heap.checkpoint()?;
            // Whatever was cut before is durable as well.
            tickets.clear();
            acknowledge(number, heap, generation)?;
        }
        while let Some((generation, ticket)) = tickets.pop_front() {
            match ticket.try_wait() {
                Some(outcome) => {
                    outcome?;
                    acknowledge(number, heap, generation)?;
                }
                None => {
                    tickets.push_front((generation, ticket));
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..400)));
    }
}

fn acknowledge(number: usize, heap: &Heap, generation: u64) -> anyhow::Result<()> {
    let stats = heap.stats()?;
    let ladder = &stats.ladder;
    let eager = ladder.eager_copies + ladder.eager_compares;
    let (huge, wakes, refined) = (ladder.huge_blocks, ladder.wakes, ladder.refined);
    tell(&format!("durable {number} {generation} {} {huge} {wakes} {refined} {eager}", stats.folds));
    Ok(())
}

/// One write of one line: a kill leaves whole lines.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Standard output is line-buffered; the parent is gone if this fails, and the kill with it.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
