//! Facts about the machine and this process, as the kernel tells them.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What every report says about where it was made.
pub fn facts(dir: &Path) -> Result<Value> {
    let read = |path: &str| fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned());
    Ok(json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cores": std::thread::available_parallelism().context("count the cores")?.get(),
        "memory_mib": field_kib("/proc/meminfo", "MemTotal:")? / 1024,
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "heaps_on": file_system(dir)?,
    }))
}

/// Whether `dir` lies in memory, where a sync costs nothing.
pub fn in_memory(dir: &Path) -> Result<bool> {
    Ok(matches!(file_system(dir)?.as_str(), "tmpfs" | "ramfs"))
}

/// The name of the file system of `dir`, or its magic number.
pub fn file_system(dir: &Path) -> Result<String> {
    let stat = nix::sys::statfs::statfs(dir).with_context(|| format!("statfs {}", dir.display()))?;
    let magic = i128::from(stat.filesystem_type().0) as u64 & 0xFFFF_FFFF;
    Ok(match magic {
        0xEF53 => "ext2/3/4".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683E => "btrfs".to_owned(),
        0x2FC1_2FC1 => "zfs".to_owned(),
        0xF2F5_2010 => "f2fs".to_owned(),
        0x6969 => "nfs".to_owned(),
        0x794C_7630 => "overlayfs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x8584_58F6 => "ramfs".to_owned(),
        other => format!("file system {other:#x}"),
    })
}

/// The number behind `name` in a file of `name: number kB` lines, in KiB.
pub fn field_kib(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} in {path}"))?;
    let number = rest.split_whitespace().next().unwrap_or_default();
    number.parse().with_context(|| format!("{name} in {path}: {rest}"))
}

/// How many mappings this process has.
pub fn mappings() -> Result<u64> {
    let maps = fs::read_to_string("/proc/self/maps").context("read /proc/self/maps")?;
    Ok(maps.lines().count() as u64)
}

/// Bytes of this process's page tables.
pub fn page_table_bytes() -> Result<u64> {
    Ok(field_kib("/proc/self/status", "VmPTE:")? * 1024)
}

/// Waits until the other threads of this process sleep and nothing has been written for a while: background work is done, and each measurement starts
/// from rest, whichever side it is for. It looks from outside, so it needs to know nothing of what the background work is.
///
/// With `busy` set, other threads of this process run all the while, and only the writing counts.
pub fn settle(busy: bool) -> Result<()> {
    const QUIET: Duration = Duration::from_millis(4);
    const LIMIT: Duration = Duration::from_secs(120);
    let start = Instant::now();
    let mut written = bytes_written()?;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < QUIET && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
        let now = bytes_written()?;
        if now != written || (!busy && others_run()?) {
            written = now;
            quiet_since = Instant::now();
        }
    }
    Ok(())
}

/// Writes back what the kernel has cached for the files below `dir`, so that no side pays for another's leftovers.
pub fn write_back(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            write_back(&path)?;
        } else {
            let file = fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
            file.sync_data().with_context(|| format!("sync {}", path.display()))?;
        }
    }
    Ok(())
}

fn bytes_written() -> Result<u64> {
    field_kib("/proc/self/io", "wchar:")
}

/// Whether another thread of this process runs or waits for a disk.
fn others_run() -> Result<bool> {
    let me = nix::unistd::gettid().to_string();
    for task in fs::read_dir("/proc/self/task").context("list /proc/self/task")? {
        let task = task?;
        if task.file_name().to_string_lossy() == me {
            continue;
        }
        // A thread may end while it is looked at.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        if matches!(state, Some('R' | 'D')) {
            return Ok(true);
        }
    }
    Ok(false)
}
