//! Each claim that strewn makes about speed or memory, as a scenario that measures both sides of it in one run.
//!
//! `strewn-benches NAME` prints tables, or JSON with `--json`, and last the headlines, a line each: `headline NAME VALUE UNIT`. Timings are medians over
//! repeats; sides of a ratio take turns ([`measure::interleave`]); rounds that warm memory are thrown away. A missed promise is told, but is no
//! error: on a busy machine it may be noise.

mod machine;
mod measure;
mod population;
mod report;
mod scenarios;

use anyhow::{Context, Result, bail};
use clap::Parser;
use report::Report;
use scenarios::{Scenario, Setting};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measures strewn's claims about speed and memory. The environment variable STREWN_TRACKER (async, signal, page) picks the tracker.
#[derive(Parser)]
struct Arguments {
    /// The scenario, or `all`. Without it, the scenarios are listed.
    name: Option<String>,
    /// Fewer repeats and objects: each scenario ends within 20 seconds, `pause-scale` and `ladder` within 40.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// The directory in which heaps are created, on the file system to be measured. They are removed at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Tiny, to see that everything runs; the figures mean nothing.
    #[arg(long, hide = true)]
    smoke: bool,
    /// Measure the footprint of objects of this size in this process, and print it as JSON.
    #[arg(long, hide = true)]
    footprint_of: Option<usize>,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Only to see that it runs.
    Smoke,
    /// Within 20 seconds, or 40.
    Quick,
    /// As the claims say.
    Full,
}

impl Scale {
    /// The value for this scale.
    pub fn pick<T>(self, smoke: T, quick: T, full: T) -> T {
        match self {
            Scale::Smoke => smoke,
            Scale::Quick => quick,
            Scale::Full => full,
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scale = match (arguments.smoke, arguments.quick) {
        (true, _) => Scale::Smoke,
        (false, true) => Scale::Quick,
        (false, false) => Scale::Full,
    };
    let base = arguments.dir.clone().map_or_else(default_directory, Ok)?;
    let scratch = tempfile::Builder::new().prefix("strewn-benches-").tempdir_in(&base);
    let scratch = scratch.with_context(|| format!("create a directory for heaps in {}", base.display()))?;
    let setting = Setting { scale, dir: scratch.path().to_path_buf() };
    let outcome = match (&arguments.name, arguments.footprint_of) {
        (_, Some(bytes)) => scenarios::footprint::child(&setting, bytes),
        (Some(name), None) => run(&chosen(name)?, &setting, arguments.json),
        (None, None) => {
            list();
            Ok(())
        }
    };
    scratch.close().context("remove the heaps")?;
    outcome
}

fn list() {
    println!("scenarios (or `all`):");
    for scenario in scenarios::ALL {
        println!("  {:<17} {}", scenario.name, scenario.what);
    }
}

fn chosen(name: &str) -> Result<Vec<&'static Scenario>> {
    let found: Vec<_> = scenarios::ALL.iter().filter(|s| name == "all" || s.name == name).collect();
    if found.is_empty() {
        list();
        bail!("there is no scenario `{name}`");
    }
    Ok(found)
}

fn run(chosen: &[&Scenario], setting: &Setting, as_json: bool) -> Result<()> {
    let facts = machine::facts(&setting.dir)?;
    if !as_json {
        println!("{}", header(&facts));
    }
    let mut documents = Vec::new();
    let mut headlines = Vec::new();
    for scenario in chosen {
        let start = Instant::now();
        let mut report: Report = (scenario.run)(setting).with_context(|| format!("scenario {}", scenario.name))?;
        let seconds = start.elapsed().as_secs_f64();
        if machine::in_memory(&setting.dir)? {
            report.note(
                "the heaps are not on a disk: what waits for one costs nothing here, and says nothing; give --dir",
            );
        }
        match as_json {
            true => documents.push(report.json(scenario.name, seconds)),
            false => println!("{}", report.text(scenario.name, seconds)),
        }
        headlines.append(&mut report.headlines);
    }
    if as_json {
        let scale = format!("{:?}", setting.scale).to_lowercase();
        println!("{:#}", json!({ "machine": facts, "scale": scale, "scenarios": documents }));
    }
    for headline in headlines {
        println!("{}", headline.line());
    }
    Ok(())
}

fn header(facts: &Value) -> String {
    let fact = |name: &str| facts[name].as_str().map_or_else(|| facts[name].to_string(), str::to_owned);
    format!(
        "Linux {}, {} cores, {} MiB, transparent huge pages {}, heaps on {}\n",
        fact("kernel"),
        fact("cores"),
        fact("memory_mib"),
        fact("huge_pages"),
        fact("heaps_on"),
    )
}

/// `target` if it is there and on a disk, else the system's directory for temporary files.
fn default_directory() -> Result<PathBuf> {
    let target = Path::new("target");
    if target.is_dir() && !machine::in_memory(target)? {
        return Ok(std::path::absolute(target)?);
    }
    Ok(std::env::temp_dir())
}
