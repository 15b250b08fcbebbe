//! What the suites run in a process of its own: one verb, its arguments, and what came of it on standard output.

use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::path::Path;
use strewn::{Heap, TrackerKind};
use strewn_tests::files::Snapshot;
use strewn_tests::{damage, fuzz, golden, process, script, specimen, workload};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.first() == Some(&"nobody") {
        process::become_nobody().context("become nobody")?;
        words.remove(0);
    }
    let (verb, path, rest) = match words[..] {
        [verb, path, ref rest @ ..] => (verb, Path::new(path), rest),
        _ => bail!("usage: [nobody] VERB PATH TRACKER ..."),
    };
    let tracker: TrackerKind = rest.first().context("which tracker?")?.parse()?;
    let number = |i: usize| -> anyhow::Result<u64> { Ok(rest.get(i).context("a number is missing")?.parse()?) };
    match verb {
        "open" => report(Heap::options().tracker(tracker).open(path)),
        "open-by-environment" => report(Heap::open(path)),
        "create" => report(Heap::options().tracker(tracker).create(path)),
        "hold" => hold(path, tracker)?,
        "damage" => damage::run(path, tracker, number(1)?, number(2)?, number(3)?)?,
        "replay" => script::replay(path, tracker, number(1)?, number(2)? == 1)?,
        "work" => workload::run(path, tracker, number(1)?)?,
        "after" => workload::after(path, tracker)?,
        "golden" => {
            let step = golden::make(path, rest.get(1).context("which heap?")?)?;
            print!("# step {step}\n{}", golden::to_text(&Snapshot::take(path)));
        }
        "corpus" => corpus(path)?,
        "step" => step(path, tracker)?,
        _ => bail!("unknown verb {verb}"),
    }
    Ok(())
}

fn report(outcome: strewn::Result<Heap>) {
    match outcome {
        Ok(heap) => match specimen::verify(&heap) {
            Ok(step) => println!("OK {step}"),
            Err(what) => println!("WRONG {what}"),
        },
        Err(e) => println!("{:?} {e}", e.kind()),
    }
}

/// Writes the seeds of each fuzz target into a folder of its name under `path`.
fn corpus(path: &Path) -> anyhow::Result<()> {
    for (target, _) in fuzz::TARGETS {
        let dir = path.join(target);
        std::fs::create_dir_all(&dir)?;
        for (name, bytes) in fuzz::seeds(target) {
            std::fs::write(dir.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Opens a specimen, takes it a step on, and closes it.
fn step(path: &Path, tracker: TrackerKind) -> anyhow::Result<()> {
    let heap = Heap::options().tracker(tracker).open(path)?;
    heap.check();
    specimen::verify(&heap).map_err(anyhow::Error::msg)?;
    let step = specimen::grow(&heap)?;
    heap.close()?;
    println!("{step}");
    Ok(())
}

/// Keeps the heap open until standard input ends.
fn hold(path: &Path, tracker: TrackerKind) -> anyhow::Result<()> {
    let _heap = Heap::options().tracker(tracker).open(path)?;
    println!("held");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
