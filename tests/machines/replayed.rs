//! Disks that lose their caches: all that a guest tells its disks is logged, and done again up to some point, without some of what no flush had covered by then.
//!
//! The guest runs once. The host notes how long a disk's log is when it hears an acknowledgement on that disk: what the acknowledgement rests on is in the log
//! before that length, because QEMU logs a request before the guest hears that it is done. So a disk that has done at least that much owes it.

use crate::guest::{Disk, Guest, Task, describe};
use crate::initramfs::Boot;
use crate::write_log::{Entry, WriteLog};
use crate::{DISK_BYTES, DISKS};
use rand::{Rng, rngs::SmallRng};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strewn::TrackerKind;
use strewn_tests::disks::{FileSystem, Mounted, copy_sparse, keep};
use strewn_tests::process::alone;
use strewn_tests::rounds::Rounds;
use strewn_tests::trackers::any_tracker;
use strewn_tests::worker::{Promise, look, read_lines};

const ROUNDS: usize = 60;
/// What the slowest worker has to acknowledge before the guest is ended; or how long it may take, once it has acknowledged something.
const CHECKPOINTS: u64 = 150;
const SLOWEST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
/// Both file systems want a block of theirs whole; torn sectors within one are left to the simulated disks.
const BLOCK: u64 = 4096;
const HEAP: &str = "bank.heap";

/// A disk of the guest, and what was heard of it.
struct Logged {
    file_system: FileSystem,
    tracker: &'static str,
    disk: Disk,
    log: PathBuf,
    /// What was promised once the log had that length.
    promises: Vec<(u64, Promise)>,
}

/// Which writes a state loses, of those that no flush has covered.
#[derive(Clone, Copy, Debug)]
enum Loss {
    None,
    All,
    /// Each block, with even odds.
    Blocks,
    /// Each write, with even odds.
    Writes,
}

impl Loss {
    fn pick(rng: &mut SmallRng) -> Self {
        [Self::None, Self::All, Self::Blocks, Self::Blocks, Self::Writes, Self::Writes][rng.random_range(0..6)]
    }
}

#[test]
fn a_disk_without_its_cache_has_all_that_was_acknowledged() {
    let _alone = alone();
    let Some((place, boot)) = Boot::prepare("disks that lose their caches") else { return };
    let (rounds, mut rng) = Rounds::new("machines", "a_disk_without_its_cache_has_all_that_was_acknowledged", ROUNDS);
    let mut disks = DISKS.map(|(file_system, tracker)| Logged::new(file_system, tracker, place.path()));
    let start = Instant::now();
    run_guest(&boot, place.path(), &mut disks, &mut rng);
    rounds.report(&format!("the guest ran for {:.1} s", start.elapsed().as_secs_f64()));
    let count = rounds.count / disks.len();
    for logged in disks {
        let told = logged.check_states(place.path(), count, &mut rng);
        rounds.report(&told);
    }
}

/// Runs workers on all disks until each has acknowledged enough.
fn run_guest(boot: &Boot, place: &Path, disks: &mut [Logged], rng: &mut SmallRng) {
    let parts: Vec<Disk> = disks.iter().map(|logged| logged.disk.clone()).collect();
    let mut guest = Guest::start(boot, place, &parts, None);
    guest.wait_ready();
    let task = |logged: &Logged, seed| Task {
        file_system: logged.file_system.name(),
        heap: HEAP,
        tracker: logged.tracker,
        seed,
    };
    let tasks: Vec<Task<'_>> = disks.iter().map(|logged| task(logged, rng.random())).collect();
    let ports = guest.go(&tasks);
    let least: Vec<AtomicU64> = disks.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for ((logged, port), checkpoints) in disks.iter_mut().zip(ports).zip(&least) {
            scope.spawn(move || logged.listen(port, checkpoints));
        }
        let wait_for = |wanted, patience| {
            let start = Instant::now();
            let few = |checkpoints: &AtomicU64| checkpoints.load(Ordering::Relaxed) < wanted;
            while least.iter().any(few) && start.elapsed() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        // If it is in vain, the listeners have heard less than the checks want.
        wait_for(1, PATIENCE);
        wait_for(CHECKPOINTS, SLOWEST);
        guest.end();
    });
}

impl Logged {
    fn new(file_system: FileSystem, tracker: &'static str, place: &Path) -> Self {
        let (image, log) =
            (place.join(format!("{}.img", file_system.name())), place.join(format!("{}.log", file_system.name())));
        file_system.make(&image, DISK_BYTES).unwrap();
        let pristine = image.with_extension("pristine");
        copy_sparse(&image, &pristine).unwrap();
        File::create(&log).unwrap();
        Self { file_system, tracker, disk: Disk { image, log: Some(log.clone()) }, log, promises: Vec::new() }
    }

    fn listen(&mut self, port: std::os::unix::net::UnixStream, checkpoints: &AtomicU64) {
        let mut promise = Promise::default();
        read_lines(port, |line| {
            promise.hear(line);
            let len = std::fs::metadata(&self.log).unwrap().len();
            self.promises.push((len, promise.clone()));
            checkpoints.store(promise.checkpoints, Ordering::Relaxed);
        });
    }

    /// What a disk owes whose log has length `len`.
    fn owed(&self, len: u64) -> Promise {
        let heard = self.promises.iter().rev().find(|(at, _)| *at <= len);
        heard.map_or_else(Promise::default, |(_, promise)| promise.clone())
    }

    /// How many requests a state has seen: often all up to a flush, because most can be lost then; sometimes before anything was acknowledged.
    fn pick_point(&self, log: &WriteLog, rng: &mut SmallRng) -> usize {
        let all = log.entries.len();
        let first = self.promises.iter().find(|(_, promise)| promise.checkpoints > 0).map_or(u64::MAX, |(len, _)| *len);
        let (early, to_flush) = (rng.random_range(0..6) == 0, rng.random_range(0..4) > 0);
        let most = if early { log.entries.partition_point(|entry| entry.start < first) } else { all };
        let point = rng.random_range(0..=most);
        let flush = log.entries[point..].iter().position(Entry::is_flush).map_or(all, |after| point + after);
        if to_flush { flush } else { point }
    }

    /// Looks at `count` states of the disk, and tells of them.
    fn check_states(self, place: &Path, count: usize, rng: &mut SmallRng) -> String {
        let name = self.file_system.name();
        let (_, all) =
            self.promises.last().unwrap_or_else(|| panic!("{name}: the worker said nothing:\n{}", describe(place)));
        assert!(all.failed.is_none() && all.checkpoints > 0, "{name}: {all:?}:\n{}", describe(place));
        let log = WriteLog::open(&self.log).unwrap();
        let mut points: Vec<usize> = (0..count).map(|_| self.pick_point(&log, rng)).collect();
        points.sort_unstable();
        let base = File::options().write(true).open(self.pristine()).unwrap();
        let (mut done, mut lost, mut promised) = (0, 0, 0);
        for (i, point) in points.into_iter().enumerate() {
            let flushed = log.flushed(point);
            for entry in &log.entries[done..flushed.max(done)] {
                log.apply(entry, entry.range.clone(), &base).unwrap();
            }
            done = flushed.max(done);
            let loss = Loss::pick(rng);
            let state = place.join(format!("{name}.state"));
            copy_sparse(&self.pristine(), &state).unwrap();
            lost += lose(&log, &log.entries[flushed..point], loss, &state, rng);
            let promise = self.owed(log.len_at(point));
            promised += u64::from(promise.checkpoints > 0);
            let told = || {
                format!(
                    "state {i} of {count} of {name}: {point} requests of {}, the last {} not flushed, lost {loss:?}",
                    log.entries.len(),
                    point - flushed
                )
            };
            check_state(&state, self.file_system, place, &promise)
                .unwrap_or_else(|e| panic!("{}: {e}; {}", told(), keep(&state)));
            std::fs::remove_file(&state).unwrap();
        }
        assert!(count < 20 || promised > 0 && lost > 0, "{name}: no state had anything to lose");
        let (entries, flushes) = (log.entries.len(), log.entries.iter().filter(|entry| entry.is_flush()).count());
        format!(
            "{count} states of {name}, {promised} of them with checkpoints acknowledged, without {lost} blocks: {} checkpoints, {} folds, {entries} requests, {flushes} flushes",
            all.checkpoints, all.folds
        )
    }

    fn pristine(&self) -> PathBuf {
        self.disk.image.with_extension("pristine")
    }
}

/// Does `entries`, which no flush has covered, but for what is lost. Returns how many blocks that was.
fn lose(log: &WriteLog, entries: &[Entry], loss: Loss, state: &Path, rng: &mut SmallRng) -> u64 {
    let image = File::options().write(true).open(state).unwrap();
    let mut lost = 0;
    for entry in entries {
        let whole = rng.random::<bool>();
        for part in blocks(&entry.range) {
            let odds = rng.random::<bool>();
            let kept = match loss {
                Loss::None => true,
                Loss::All => false,
                Loss::Blocks => odds,
                Loss::Writes => whole,
            };
            if kept || entry.is_durable_at_once() {
                log.apply(entry, part, &image).unwrap();
            } else {
                lost += 1;
            }
        }
    }
    lost
}

/// The parts of a range that lie in one block each.
fn blocks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (start, end) = (range.start, range.end);
    let first = start / BLOCK;
    (first..end.div_ceil(BLOCK)).map(move |block| (block * BLOCK).max(start)..((block + 1) * BLOCK).min(end))
}

fn check_state(state: &Path, file_system: FileSystem, place: &Path, promise: &Promise) -> Result<u64, String> {
    let disk = Mounted::new(state, file_system, &place.join("state"))?;
    let tracker: TrackerKind = any_tracker();
    let found = look(&disk.dir().join(HEAP), tracker, promise, false);
    disk.unmount();
    found
}
