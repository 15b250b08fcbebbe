//! Works on a bank until it is killed, and says on standard output which generations are durable.
//!
//! Usage: `strewn-crash-child HEAP TRACKER SEED [MAPPING POLICY]`. Prints `open`, then `durable GENERATION FOLDS` for each checkpoint, followed by
//! `HUGE WAKES REFINED EAGER`: blocks that are huge pages, and what the ladder has done.
//!
//! With a mapping and a policy, one thread works on the bank's crowd, in phases, and all rest while that is idle.

use anyhow::Context;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strewn::{Heap, Ticket, TrackerKind};
use strewn_tests::bank::{Bank, Phase};
use strewn_tests::trackers::options;

/// Small, so that kills often hit a fold.
const LOG_BYTES: u64 = 16 << 10;
/// The same for the crowd, which is larger.
const CROWD_LOG_BYTES: u64 = 256 << 10;
const WORKERS: u64 = 3;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, tracker, seed, ladder @ ..] = &arguments[..] else {
        anyhow::bail!("usage: HEAP TRACKER SEED [MAPPING POLICY]")
    };
    let tracker: TrackerKind = tracker.parse()?;
    let (options, crowded) = match ladder {
        [] => (options(tracker, LOG_BYTES), false),
        [mapping, policy] => {
            (options(tracker, CROWD_LOG_BYTES).mapping(mapping.parse()?).policy(policy.parse()?), true)
        }
        _ => anyhow::bail!("a mapping and a policy, or neither"),
    };
    let mut rng = SmallRng::seed_from_u64(seed.parse().context("SEED")?);
    let heap = options.open_or_create(Path::new(path))?;
    let bank = Bank::open(&heap)?;
    tell("open");
    // Which phase the crowd is in, as an index.
    let phase = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (bank, phase) = (&bank, &phase);
            let mut rng = SmallRng::seed_from_u64(rng.random::<u64>() ^ worker);
            scope.spawn(move || {
                loop {
                    let phase = Phase::ALL[phase.load(Ordering::Relaxed)];
                    let idle = crowded && phase == Phase::Idle;
                    match worker {
                        _ if idle => (),
                        0 if crowded => bank.work_on_crowd(phase, &mut rng).expect("work on the crowd"),
                        _ => bank.work(&mut rng).expect("work"),
                    }
                    // Many small checkpoints show more than few large ones.
                    if idle || rng.random_range(0..4) == 0 {
                        std::thread::sleep(Duration::from_micros(150));
                    }
                }
            });
        }
        checkpoints(&heap, &bank, &phase, &mut rng)
    })
}

fn checkpoints(heap: &Heap, bank: &Bank<'_>, phase: &AtomicUsize, rng: &mut SmallRng) -> anyhow::Result<()> {
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
    let stats = heap.stats()?;
    let ladder = &stats.ladder;
    let eager = ladder.eager_copies + ladder.eager_compares;
    let (huge, wakes, refined) = (ladder.huge_blocks, ladder.wakes, ladder.refined);
    tell(&format!("durable {generation} {} {huge} {wakes} {refined} {eager}", stats.folds));
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
