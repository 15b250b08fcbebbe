//! Works on a bank until it is killed, and says on standard output which generations are durable.
//!
//! Usage: `strewn-crash-child HEAP TRACKER SEED`. Prints `open`, then `durable GENERATION FOLDS` for each checkpoint.

use anyhow::Context;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use strewn::{Heap, Ticket, TrackerKind};
use strewn_tests::{bank::Bank, trackers::options};

/// Small, so that kills often hit a fold.
const LOG_BYTES: u64 = 16 << 10;
const WORKERS: u64 = 3;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, tracker, seed] = &arguments[..] else { anyhow::bail!("usage: HEAP TRACKER SEED") };
    let tracker: TrackerKind = tracker.parse()?;
    let mut rng = SmallRng::seed_from_u64(seed.parse().context("SEED")?);
    let heap = options(tracker, LOG_BYTES).open_or_create(Path::new(path))?;
    let bank = Bank::open(&heap)?;
    tell("open");
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (bank, mut rng) = (&bank, SmallRng::seed_from_u64(rng.random::<u64>() ^ worker));
            scope.spawn(move || {
                loop {
                    bank.work(&mut rng).expect("work");
                    // Many small checkpoints show more than few large ones.
                    if rng.random_range(0..4) == 0 {
                        std::thread::sleep(Duration::from_micros(150));
                    }
                }
            });
        }
        checkpoints(&heap, &bank, &mut rng)
    })
}

fn checkpoints(heap: &Heap, bank: &Bank<'_>, rng: &mut SmallRng) -> anyhow::Result<()> {
    let mut tickets: VecDeque<(u64, Ticket)> = VecDeque::new();
    loop {
        let generation = bank.next_generation();
        if rng.random_range(0..3) == 0 {
            tickets.push_back((generation, heap.checkpoint_async()?));
        } else {
            heap.checkpoint()?;
            // Whatever was cut before is durable as well.
            tickets.clear();
            acknowledge(heap, generation)?;
        }
        while let Some((generation, ticket)) = tickets.pop_front() {
            match ticket.try_wait() {
                Some(outcome) => {
                    outcome?;
                    acknowledge(heap, generation)?;
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

fn acknowledge(heap: &Heap, generation: u64) -> anyhow::Result<()> {
    tell(&format!("durable {generation} {}", heap.stats()?.folds));
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
