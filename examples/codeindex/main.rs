//! `codeindex`: a full-text index of source trees, held in a strewn heap.
//!
//! ```text
//! codeindex [--heap PATH] [DIR]...              index directories, or bring their index up to date
//! codeindex [--heap PATH] query WORD...         the files that have all the words, best first
//! codeindex [--heap PATH] crash N [DIR]...      kill the indexing N times, and prove each recovery
//! ```
//!
//! The index is nothing but objects in the heap: there is no file format, no loading and no saving. `index.rs` says what they are, `sweep.rs` keeps them up to
//! date, and `crash/` proves that they survive.

#![forbid(unsafe_code)]

mod audit;
mod crash;
mod hash;
mod index;
mod postings;
mod query;
mod report;
mod store;
mod sweep;
mod tokenize;
mod walk;

use crate::store::Store;
use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use strewn::Heap;

/// How often a checkpoint is made while indexing.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(20);

/// A full-text index of source trees, held in a strewn heap.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where the index is [default: codeindex.heap; for `crash`, codeindex-crash.heap]
    #[arg(long, global = true, value_name = "PATH")]
    heap: Option<PathBuf>,
    /// Directories to index [default: this repository, and the sources in the local cargo registry]
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the files that have all the words, best first
    Query {
        /// Identifiers, or parts of them
        #[arg(required = true, value_name = "WORD")]
        words: Vec<String>,
        /// How many files to print
        #[arg(long, default_value_t = 10)]
        limit: usize,
    },
    /// Kill the indexing N times at random instants, and prove each time that the recovered index equals one that was checkpointed
    Crash(crash::CrashArgs),
    /// What `crash` kills
    #[command(hide = true)]
    CrashChild(crash::ChildArgs),
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(cli.command.is_none() || cli.dirs.is_empty(), "directories go behind the command");
    let heap = |default: &str| cli.heap.clone().unwrap_or_else(|| default.into());
    match &cli.command {
        None => bring_up_to_date(&heap("codeindex.heap"), &cli.dirs),
        Some(Command::Query { words, limit }) => query::run(&heap("codeindex.heap"), words, *limit),
        Some(Command::Crash(args)) => crash::supervise(&heap("codeindex-crash.heap"), args),
        Some(Command::CrashChild(args)) => crash::be_killed(&heap("codeindex-crash.heap"), args),
    }
}

/// Indexes `dirs` (or the default ones) into the heap at `path`, and reports.
fn bring_up_to_date(path: &Path, dirs: &[PathBuf]) -> Result<ExitCode> {
    let (heap, opened) = open(path)?;
    let mut store = Store::open_or_create(&heap)?;
    let before = store.read(|index| (index.numbers.len(), index.words.len()))?;
    println!("opened {} in {opened:.2?}: {} files, {} words", path.display(), before.0, before.1);

    let started = Instant::now();
    let walk = walk::walk(&walk::roots_or_default(dirs))?;
    let ticker = heap.checkpoint_every(CHECKPOINT_EVERY)?;
    let mut bar = report::Bar::new();
    let tally = sweep::sweep(&mut store, &walk, &mut bar)?;
    bar.finish();
    ticker.stop()?;
    heap.checkpoint()?;
    let elapsed = started.elapsed();

    let (stats, section_max) = (heap.stats()?, store.section_max);
    let sizes = store.read(|index| (index.numbers.len(), index.words.len()))?;
    // Not closed, so that opening it again recovers it as after a crash, log and all.
    drop(heap);
    let (heap, reopened) = open(path)?;
    let recovered = Store::open_or_create(&heap)?.read(|index| (index.numbers.len(), index.words.len()))?;
    ensure!(recovered == sizes, "{} files and words were recovered, not {}", recovered.0, sizes.0);
    let closing = heap.close()?;
    report::print(&report::Run {
        walk: &walk,
        tally,
        elapsed,
        section_max,
        stats: &stats,
        closing: &closing,
        sizes,
        reopened,
    });
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<(Heap, Duration)> {
    let opening = Instant::now();
    let heap = Heap::open_or_create(path).with_context(|| format!("cannot open the index at {}", path.display()))?;
    Ok((heap, opening.elapsed()))
}
