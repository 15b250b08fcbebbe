//! A file system that is shut down under a running workload: what it has in memory, its own log included, is lost.

use crate::{DISK_BYTES, Tally, Victim, wait_a_moment};
use rand::Rng;
use strewn_tests::disks::{FileSystem, Mounted, keep, may_mount, missing, place};
use strewn_tests::process::alone;
use strewn_tests::rounds::Rounds;
use strewn_tests::worker::{Promise, Worker, look};

const ROUNDS: usize = 40;
/// One heap in so many rounds starts anew, so that creation is hit too.
const ANEW: u32 = 4;

#[test]
fn a_file_system_shut_down_loses_nothing_acknowledged() {
    let _alone = alone();
    let what = "a file system shut down";
    if !may_mount(what) {
        return;
    }
    let (rounds, mut rng) = Rounds::new("lost_caches", "a_file_system_shut_down_loses_nothing_acknowledged", ROUNDS);
    let place = place();
    let (image, dir) = (place.path().join("disk.img"), place.path().join("disk"));
    let mount = || Mounted::new(&image, FileSystem::Xfs, &dir);
    let mut disk = match FileSystem::Xfs.make(&image, DISK_BYTES).and_then(|()| mount()) {
        Ok(disk) => disk,
        Err(e) => return missing(what, &e),
    };
    let mut victims = Victim::all();
    let mut tally = Tally::default();
    for round in 0..rounds.count {
        let workers: Vec<Worker> = victims.iter().map(|victim| victim.start(disk.dir(), &mut rng)).collect();
        wait_a_moment(&workers, &mut rng);
        let said: Vec<Promise> = workers.iter().map(Worker::promise).collect();
        disk.shut_down().unwrap();
        let all: Vec<Promise> = workers.into_iter().map(Worker::kill).collect();
        disk.unmount();
        disk = mount().unwrap_or_else(|e| panic!("round {round}: {e}; {}", keep(&image)));
        for ((victim, said), all) in victims.iter_mut().zip(said).zip(all) {
            tally.looked(&said);
            tally.worked(&all);
            let path = victim.path(disk.dir());
            let (close, anew) = (rng.random_range(0..10) == 0, rng.random_range(0..ANEW) == 0);
            let found = look(&path, victim.tracker, &victim.owed(&said), close);
            let generation = found.unwrap_or_else(|e| panic!("after {} states: {e}; {}", tally.states, keep(&image)));
            // What was found is durable, now that the heap was opened.
            victim.promise = Promise { open: path.exists(), generation, ..Promise::default() };
            if victim.promise.open && anew {
                std::fs::remove_dir_all(&path).unwrap();
                victim.promise = Promise::default();
            }
        }
    }
    disk.unmount();
    tally.report(&rounds, "shutdowns of xfs");
}
