//! Power cuts of a disk that keeps its word: a snapshot of the disk's image, taken at one instant while workers go on.

use crate::{DISK_BYTES, Tally, Victim, wait_a_moment};
use rand::{Rng, rngs::SmallRng};
use std::path::Path;
use std::process::Command;
use strewn_tests::disks::{FileSystem, Mounted, keep, may_mount, missing, place, run};
use strewn_tests::process::alone;
use strewn_tests::rounds::Rounds;
use strewn_tests::worker::{Promise, Worker, look};

const ROUNDS: usize = 40;
/// Snapshots of the same run of the workers.
const SNAPSHOTS_A_RUN: usize = 8;
/// Room for the disk and for what a snapshot no longer shares with it.
const OUTER_BYTES: u64 = 6 * DISK_BYTES;

#[test]
fn a_snapshot_of_a_disk_in_use_has_all_that_was_acknowledged() {
    let _alone = alone();
    let what = "snapshots of a disk";
    if !may_mount(what) {
        return;
    }
    let (rounds, mut rng) =
        Rounds::new("lost_caches", "a_snapshot_of_a_disk_in_use_has_all_that_was_acknowledged", ROUNDS);
    let place = place();
    let (outer, outer_dir) = (place.path().join("outer.img"), place.path().join("outer"));
    let (image, dir) = (outer_dir.join("inner.img"), place.path().join("inner"));
    let made = FileSystem::Xfs.make(&outer, OUTER_BYTES).and_then(|()| {
        let outer = Mounted::new(&outer, FileSystem::Xfs, &outer_dir)?;
        FileSystem::Xfs.make(&image, DISK_BYTES)?;
        Ok((outer, Mounted::new(&image, FileSystem::Xfs, &dir)?))
    });
    let (outer, inner) = match made {
        Ok(disks) => disks,
        Err(e) => return missing(what, &e),
    };
    let mut tally = Tally::default();
    let mut left = rounds.count;
    while left > 0 {
        let snapshots = left.min(SNAPSHOTS_A_RUN);
        run_of_snapshots(&image, inner.dir(), place.path(), snapshots, &mut tally, &mut rng);
        left -= snapshots;
    }
    inner.unmount();
    outer.unmount();
    tally.report(&rounds, "snapshots of xfs");
}

/// Starts workers on new heaps, and looks at the disk as it is at some moments of their work.
fn run_of_snapshots(image: &Path, dir: &Path, place: &Path, count: usize, tally: &mut Tally, rng: &mut SmallRng) {
    let victims = Victim::all();
    let workers: Vec<Worker> = victims.iter().map(|victim| victim.start(dir, rng)).collect();
    let (snapshot, snapshot_dir) = (image.with_file_name("snapshot.img"), place.join("snapshot"));
    for _ in 0..count {
        wait_a_moment(&workers, rng);
        let said: Vec<Promise> = workers.iter().map(Worker::promise).collect();
        run(Command::new("cp").arg("--reflink=always").arg(image).arg(&snapshot)).unwrap();
        let kept = || keep(&snapshot);
        let disk =
            Mounted::new(&snapshot, FileSystem::Xfs, &snapshot_dir).unwrap_or_else(|e| panic!("{e}; {}", kept()));
        for (victim, said) in victims.iter().zip(&said) {
            tally.looked(said);
            let found = look(&victim.path(disk.dir()), victim.tracker, said, rng.random_range(0..10) == 0);
            found.unwrap_or_else(|e| panic!("after {} states: {e}; {}", tally.states, kept()));
        }
        disk.unmount();
        std::fs::remove_file(&snapshot).unwrap();
    }
    for (victim, worker) in victims.iter().zip(workers) {
        tally.worked(&worker.kill());
        std::fs::remove_dir_all(victim.path(dir)).unwrap();
    }
}
