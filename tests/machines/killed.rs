//! Machines that are killed while workers run in them: their memory is gone, and their disks have what they were told.
//!
//! The guest is booted once, and its state saved before it has touched a disk; each round goes on from there, with the disks as the last round left them.

use crate::guest::{Disk, Guest, Task, describe};
use crate::initramfs::Boot;
use crate::{DISK_BYTES, DISKS, monitor};
use rand::{Rng, rngs::SmallRng};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use strewn_tests::disks::{FileSystem, Mounted, keep};
use strewn_tests::process::alone;
use strewn_tests::rounds::Rounds;
use strewn_tests::trackers::any_tracker;
use strewn_tests::worker::{Promise, look, read_lines};

const ROUNDS: usize = 10;
/// Checkpoints before a guest is killed, at most.
const CHECKPOINTS_MAX: u64 = 40;
/// How long they may take, once the heaps are open.
const SLOWEST: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(120);
/// One heap in so many rounds starts anew.
const ANEW: u32 = 4;

/// A disk over all rounds.
struct Victim {
    file_system: FileSystem,
    tracker: &'static str,
    disk: Disk,
    /// Heaps before the present one, whose name is this number.
    heap: u64,
    promise: Promise,
}

#[test]
fn a_killed_machine_loses_nothing_acknowledged() {
    let _alone = alone();
    let Some((place, boot)) = Boot::prepare("killed machines") else { return };
    let (rounds, mut rng) = Rounds::new("machines", "a_killed_machine_loses_nothing_acknowledged", ROUNDS);
    let mut victims = DISKS.map(|(file_system, tracker)| Victim::new(file_system, tracker, place.path()));
    let disks = victims.each_ref().map(|victim| victim.disk.clone());
    let state = place.path().join("guest.state");
    let mut guest = Guest::start(&boot, place.path(), &disks, None);
    guest.wait_ready();
    monitor::save(guest, &state);
    let (mut checkpoints, mut folds, mut unopened) = (0, 0, 0);
    let start = Instant::now();
    for round in 0..rounds.count {
        let guest = Guest::start(&boot, place.path(), &disks, Some(&state));
        let said = run_and_kill(guest, &victims, place.path(), &mut rng);
        for (victim, said) in victims.iter_mut().zip(said) {
            (checkpoints, folds) = (checkpoints + said.checkpoints, folds + said.folds);
            unopened += u64::from(!said.open);
            let anew = rng.random_range(0..ANEW) == 0;
            victim.look(place.path(), &said, anew).unwrap_or_else(|e| {
                panic!("after {round} other kills: {e}; {}\n{}", keep(&victim.disk.image), describe(place.path()))
            });
        }
    }
    rounds.report(&format!(
        "{} kills in {:.0} s, {} states of heaps ({unopened} before the heap was open), {checkpoints} checkpoints acknowledged, {folds} folds",
        rounds.count,
        start.elapsed().as_secs_f64(),
        rounds.count * victims.len()
    ));
    assert!(rounds.count < 5 || checkpoints > rounds.count as u64 && folds > 0, "too little happened");
}

/// Lets the guest go, kills it after some time, and returns what its workers had promised.
fn run_and_kill(mut guest: Guest, victims: &[Victim], place: &Path, rng: &mut SmallRng) -> Vec<Promise> {
    let names: Vec<String> = victims.iter().map(Victim::name).collect();
    let task = |victim: &Victim, heap, seed| Task {
        file_system: victim.file_system.name(),
        heap,
        tracker: victim.tracker,
        seed,
    };
    let tasks: Vec<Task<'_>> =
        victims.iter().zip(&names).map(|(victim, name)| task(victim, name, rng.random())).collect();
    let ports = guest.go(&tasks);
    let promises: Vec<Mutex<Promise>> = victims.iter().map(|_| Mutex::default()).collect();
    let (early, wanted) = (rng.random_range(0..6) == 0, rng.random_range(0..CHECKPOINTS_MAX));
    let (early_wait, wait) = (rng.random_range(0..1_500_000), rng.random_range(0..30_000));
    std::thread::scope(|scope| {
        for (port, promise) in ports.into_iter().zip(&promises) {
            scope.spawn(move || read_lines(port, |line| promise.lock().unwrap().hear(line)));
        }
        let all = |is_so: &dyn Fn(&Promise) -> bool| promises.iter().all(|promise| is_so(&promise.lock().unwrap()));
        let wait_until = |patience, is_so: &dyn Fn(&Promise) -> bool| {
            let start = Instant::now();
            while !early && !all(is_so) && start.elapsed() < patience {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait_until(PATIENCE, &|promise| promise.open || promise.failed.is_some());
        wait_until(SLOWEST, &|promise| promise.checkpoints >= wanted);
        std::thread::sleep(Duration::from_micros(if early { early_wait } else { wait }));
        guest.kill();
    });
    let promises: Vec<Promise> = promises.into_iter().map(|promise| promise.into_inner().unwrap()).collect();
    let bad = promises.iter().find(|promise| promise.failed.is_some() || !early && !promise.open);
    assert!(bad.is_none(), "a worker fails, or does not open its heap: {bad:?}\n{}", describe(place));
    promises
}

impl Victim {
    fn new(file_system: FileSystem, tracker: &'static str, place: &Path) -> Self {
        let image = place.join(format!("{}.img", file_system.name()));
        file_system.make(&image, DISK_BYTES).unwrap();
        Self { file_system, tracker, disk: Disk { image, log: None }, heap: 0, promise: Promise::default() }
    }

    fn name(&self) -> String {
        format!("{}.heap", self.heap)
    }

    /// Looks at the disk after a worker had promised `said`; then gives it a new heap, if `anew`.
    fn look(&mut self, place: &Path, said: &Promise, anew: bool) -> Result<(), String> {
        let disk = Mounted::new(&self.disk.image, self.file_system, &place.join("state"))?;
        let path = disk.dir().join(self.name());
        let (open, generation) = (self.promise.open || said.open, self.promise.generation.max(said.generation));
        let found = look(&path, any_tracker(), &Promise { open, generation, ..said.clone() }, false);
        let open = path.exists();
        disk.unmount();
        self.promise = Promise { open, generation: found?, ..Promise::default() };
        if anew && open {
            (self.heap, self.promise) = (self.heap + 1, Promise::default());
        }
        Ok(())
    }
}
