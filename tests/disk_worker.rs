//! Works on a bank until the disk fails or the process is killed, and says on standard output what is durable.
//!
//! Usage: `strewn-disk-worker HEAP TRACKER|any SEED [PAUSE_US]`. Prints `open` when the heap exists, then `durable GENERATION FOLDS` for each checkpoint. Ends with
//! `failed WHY` at the first checkpoint that fails, so that nothing is synced on a file system that has told of an error.
//!
//! Its threads pause for that long after every fourth section or so, 150 us unless told: a slow machine gets more checkpoints done if they pause for longer.
//!
//! Other than `strewn-crash-child` it also runs as nearly the only process of a machine, whatever that machine's kernel has.

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use strewn::{Heap, TrackerKind, probe};
use strewn_tests::bank::Bank;
use strewn_tests::trackers::options;

/// Small, so that most states have a fold under way.
const LOG_BYTES: u64 = 24 << 10;
const THREADS: u64 = 2;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, tracker, seed, rest @ ..] = &arguments[..] else { bail!("usage: HEAP TRACKER|any SEED [PAUSE_US]") };
    let pause = Duration::from_micros(rest.first().map_or(Ok(150), |pause| pause.parse()).context("PAUSE_US")?);
    let tracker = match tracker.as_str() {
        "any" if probe().missing_for_async().is_none() => TrackerKind::Async,
        "any" => TrackerKind::Signal,
        name => name.parse()?,
    };
    let mut rng = SmallRng::seed_from_u64(seed.parse().context("SEED")?);
    let Err(why) = work(Path::new(path), tracker, pause, &mut rng);
    tell(&format!("failed {why:#}"));
    // The other threads do not end.
    std::process::exit(1)
}

fn work(
    path: &Path,
    tracker: TrackerKind,
    pause: Duration,
    rng: &mut SmallRng,
) -> anyhow::Result<std::convert::Infallible> {
    let heap = options(tracker, LOG_BYTES).open_or_create(path)?;
    tell("open");
    // Threads without a bound on their life borrow both.
    let heap: &'static Heap = Box::leak(Box::new(heap));
    let bank: &'static Bank<'static> = Box::leak(Box::new(Bank::open(heap)?));
    for _ in 0..THREADS {
        let mut rng = SmallRng::seed_from_u64(rng.random());
        std::thread::spawn(move || {
            loop {
                bank.work(&mut rng).expect("work");
                // Many small checkpoints show more than few large ones.
                if rng.random_range(0..4) == 0 {
                    std::thread::sleep(pause);
                }
            }
        });
    }
    loop {
        let generation = bank.next_generation();
        if rng.random_range(0..3) == 0 {
            let ticket = heap.checkpoint_async()?;
            bank.work(rng)?;
            ticket.wait()?;
        } else {
            heap.checkpoint()?;
        }
        tell(&format!("durable {generation} {}", heap.stats()?.folds));
        std::thread::sleep(Duration::from_micros(rng.random_range(0..400)));
    }
}

/// One write of one line: a kill leaves whole lines, and a last one that has no end.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever listened is gone if this fails.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
