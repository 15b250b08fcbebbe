//! T1, T2 and what is built on G3, with threads that come and go while the world is stopped.

use super::*;
use crate::base::models::{Model, RACE, size};
use crate::base::sync::{AtomicU64, thread};

/// What the sections of a model change, two places alike, and its threads.
struct World {
    threads: Threads,
    state: [AtomicU64; 2],
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { threads: Threads::new(), state: [AtomicU64::new(0), AtomicU64::new(0)] })
    }

    /// A section in a section, each with a change and a use of the thread's cache.
    fn section(&self) {
        let outer = self.threads.enter();
        self.use_cache(outer);
        self.state[0].fetch_add(1, Ordering::Relaxed);
        let inner = self.threads.enter();
        self.use_cache(inner);
        self.threads.leave(inner);
        self.state[1].fetch_add(1, Ordering::Relaxed);
        self.threads.leave(outer);
    }

    fn use_cache(&self, member: &Member) {
        let class = crate::alloc::Class::from_index(0);
        // SAFETY: this thread is inside a section, and the reference ends with the statement.
        unsafe { member.cache() }.bin(class).push(16);
    }

    /// A thread that joins, has `sections` sections, and ends.
    fn spawn(self: &Arc<Self>, sections: usize) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || (0..sections).for_each(|_| world.section()))
    }

    fn changes(&self) -> u64 {
        let [first, second] = [0, 1].map(|i| self.state[i].load(Ordering::Relaxed));
        assert!(first == second, "a section was split");
        first
    }

    /// A cut: what lies in all caches, and how many threads had ended.
    fn cut(&self) -> (usize, usize) {
        let mut stopped = self.threads.stop();
        let (mut cached, mut ended) = (0, 0);
        let class = crate::alloc::Class::from_index(0);
        self.changes();
        stopped.visit_caches(|cache| cached += cache.bin(class).len());
        stopped.visit_and_retire_caches(|cache, abandoned| {
            if abandoned {
                ended += 1;
                cached -= cache.bin(class).len();
            }
        });
        (cached, ended)
    }
}

/// Threads join before, in and after a cut. What they had cached is with a thread, or was given back by the cut that retired it.
fn comers(workers: usize, sections: usize, cuts: usize) {
    let world = World::new();
    let workers: Vec<_> = (0..workers).map(|_| world.spawn(sections)).collect();
    (0..cuts).for_each(|_| _ = world.cut());
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    drop(world.threads.stop());
    world.changes();
}

#[test]
fn a_cut_never_splits_the_section_of_a_thread_that_comes_late() {
    Model::new("threads, a late one and a cut", || comers(size(1, 3), size(1, 3), size(1, 3)))
        .holds()
        .loom_rejects(Mistake::ThreadJoinsStoppedWorld, RACE)
        .rejects(Mistake::GateLooksFirst, RACE);
    Model::new("threads, two late ones and a cut", || comers(2, 1, 1))
        .preemptions(3)
        .holds()
        .loom_rejects(Mistake::GateLooksFirst, RACE);
}

/// Some threads, of which each may take over what another left. No two may have one.
fn heirs(heirs: usize, cut: bool) {
    let world = World::new();
    let first = world.spawn(1);
    let heirs: Vec<_> = (0..heirs).map(|_| world.spawn(1)).collect();
    if cut {
        world.cut();
    }
    first.join().unwrap();
    heirs.into_iter().for_each(|heir| heir.join().unwrap());
    let stopped = world.threads.stop();
    assert!(stopped.members.all.iter().all(|(_, member)| member.depth.get() == 0), "a section was inherited");
}

#[test]
fn a_thread_that_ended_has_one_heir() {
    Model::new("threads, heirs", || heirs(size(2, 3), false))
        .preemptions(3)
        .holds()
        .loom_rejects(Mistake::ThreadTakenTwice, RACE)
        .loom_rejects(Mistake::ThreadTakenUnordered, RACE);
    Model::new("threads, an heir or a cut", || heirs(1, true))
        .preemptions(3)
        .holds()
        .loom_rejects(Mistake::ThreadTakenUnordered, RACE);
}

/// What was read while all threads together were still is there at the stop, also if members were retired in between.
fn still(joined: bool) {
    let world = World::new();
    let first = world.spawn(1);
    if joined {
        first.join().unwrap();
    }
    let (before, read) = (world.threads.still(), world.state[0].load(Ordering::Relaxed));
    let second = world.spawn(1);
    world.cut();
    let stopped = world.threads.stop();
    if stopped.nobody_moved_since(before) {
        assert!(read == world.changes(), "someone moved");
    }
    drop(stopped);
    second.join().unwrap();
}

#[test]
fn nothing_changes_while_all_threads_are_still() {
    Model::new("threads, still", || still(true))
        .preemptions(3)
        .holds()
        .rejects(Mistake::ThreadMovesForgotten, "someone moved");
}
