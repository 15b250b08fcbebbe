//! `footprint`: what a million live objects of each size take, besides their own bytes.
//!
//! Each size is measured in a process of its own, this program started again: it notes its mappings and page tables, creates a heap, fills it, makes a
//! checkpoint, and notes them again; then it modifies 1 % at random and counts mappings once more, because some trackers split them. From outside:
//! `/proc/self/maps` (mappings), `VmPTE` (page-table bytes), `Pss_Shmem` of `smaps_rollup` (frames, each counted once). From the heap: arena
//! and bookkeeping bytes ([`strewn::Stats`]).
//!
//! Left out: the buffers of the checkpoint writer, which are as large as the largest record so far; and the files.

use super::Setting;
use crate::Scale;
use crate::machine::{field_kib, mappings, page_table_bytes, settle};
use crate::population::Population;
use crate::report::{Promise, Report, Table, figure};
use anyhow::{Context, Result, ensure};
use rand::{SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};
use std::process::Command;
use strewn::Heap;

const COLUMNS: [&str; 9] =
    ["object", "objects", "mappings", "after 1 %", "page tables MB", "metadata MB", "arena MB", "Pss MB", "live MB"];

/// Measures the scenario.
pub fn run(setting: &Setting) -> Result<Report> {
    let mut table = Table::new("a heap of live objects of one size, in a process of its own", &COLUMNS);
    let columns = ["object", "metadata %", "page tables %", "arena %", "all bytes an object"];
    let mut ratios = Table::new("in percent of the objects' own bytes", &columns);
    let mut report = Report::default();
    for bytes in [16, 64, 256, 1024, 2048] {
        let found = in_child(setting, bytes)?;
        let number = |name: &str| found[name].as_f64().with_context(|| format!("`{name}` of the child's {found}"));
        let (objects, live) = (number("objects")?, number("objects")? * bytes as f64);
        let (metadata, page_tables, arena) = (number("metadata")?, number("page_tables")?, number("arena")?);
        let megabytes = [page_tables, metadata, arena, number("pss")?, live].map(|bytes| figure(bytes / 1e6));
        let labels =
            [json!(bytes), found["objects"].clone(), found["mappings"].clone(), found["mappings_after"].clone()];
        table.row(labels.into_iter().chain(megabytes));
        let percent = [metadata, page_tables, arena].map(|part| figure(part * 100.0 / live));
        let all = figure((metadata + page_tables + arena) / objects);
        ratios.row([json!(bytes)].into_iter().chain(percent).chain([all]));
        if bytes == 64 {
            report.note(format!("tracker {}", found["tracker"].as_str().unwrap_or("unknown")));
            report.headline("footprint.vmas_64b_1m", number("mappings")?, "mappings", Promise::Below(300.0));
            report.headline("footprint.metadata_pct_64b", metadata * 100.0 / live, "%", Promise::None);
        }
    }
    report.tables = vec![table, ratios];
    if setting.scale != Scale::Full {
        report.note("a million objects of the sizes other than 64 B without --quick only");
    }
    report.note("metadata: the heap's own bookkeeping, which metadata_pct is about; page tables are the kernel's, and come on top");
    report.note("Pss: shared memory of the process, frames counted once; resident size (VmRSS) counts a frame once for each lane and means little");
    Ok(report)
}

fn in_child(setting: &Setting, bytes: usize) -> Result<Value> {
    let me = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(me);
    child.arg("--dir").arg(&setting.dir).arg("--footprint-of").arg(bytes.to_string());
    match setting.scale {
        Scale::Smoke => _ = child.arg("--smoke"),
        Scale::Quick => _ = child.arg("--quick"),
        Scale::Full => (),
    }
    let output = child.output().context("start this program again")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the child for {bytes} B ended with {}: {errors}", output.status);
    serde_json::from_slice(&output.stdout).context("what the child printed")
}

/// The part that runs in the child: prints what it found as JSON.
pub fn child(setting: &Setting, bytes: usize) -> Result<()> {
    let few = if bytes == 64 { 1_000_000 } else { 100_000 };
    let objects = setting.scale.pick(2_000, few, 1_000_000);
    let path = Setting::heap_path(&setting.dir, "footprint");
    let mappings_before = mappings()?;
    let page_tables_before = page_table_bytes()?;
    let population = Population::create(&path, &Heap::options(), objects, bytes)?;
    population.checkpoint()?;
    settle(false)?;
    population.read_all();
    let mappings_filled = mappings()?;
    let page_tables_filled = page_table_bytes()?;
    let pss = field_kib("/proc/self/smaps_rollup", "Pss_Shmem:")? * 1024;
    let stats = population.heap().stats()?;
    let picks = population.pick(&mut SmallRng::seed_from_u64(0), objects / 100);
    population.modify(&picks, 1);
    println!(
        "{}",
        json!({
            "objects": objects,
            "mappings": mappings_filled - mappings_before,
            "mappings_after": mappings()? - mappings_before,
            "page_tables": page_tables_filled - page_tables_before,
            "pss": pss,
            "metadata": stats.metadata_bytes,
            "arena": stats.arena_bytes,
            "tracker": stats.tracker.to_string(),
        })
    );
    Ok(())
}
