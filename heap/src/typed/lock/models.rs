//! X1 to X3, in every order: who has a lock has it alone, sees what was done before, and nobody sleeps for ever. The words start as another opening left them.

use super::word::{MutexWord, RwWord};
use crate::alloc::Opening;
use crate::base::Mistake;
use crate::base::models::{DEADLOCK, Model, RACE, size};
use crate::base::sync::{AtomicU64, Guarded, Ordering, thread};
use std::sync::Arc;

/// A lock, and what it guards.
struct Locked<W> {
    word: W,
    guarded: Guarded,
    inside: AtomicU64,
}

impl<W> Locked<W> {
    fn new(word: W) -> Arc<Self> {
        Arc::new(Self { word, guarded: Guarded::default(), inside: AtomicU64::new(0) })
    }

    /// What a writer does. Orders are relaxed, so that it is the lock that orders.
    fn change(&self) {
        assert!(self.inside.swap(1, Ordering::Relaxed) == 0, "two have the lock");
        self.guarded.change();
        self.inside.store(0, Ordering::Relaxed);
    }

    fn read(&self) {
        assert!(self.inside.load(Ordering::Relaxed) == 0, "a reader beside a writer");
        self.guarded.read();
    }
}

/// `threads` threads take a mutex that was forgotten.
fn mutex(threads: usize, rounds: usize) {
    let (before, now) = (Opening::numbered(5), Opening::numbered(6));
    let locked = Locked::new(MutexWord::new());
    locked.word.lock(before);
    let take = move |locked: &Locked<MutexWord>| {
        for _ in 0..rounds {
            locked.word.lock(now);
            locked.change();
            locked.word.unlock();
        }
    };
    let others = (1..threads).map(|_| {
        let locked = locked.clone();
        thread::spawn(move || take(&locked))
    });
    let others: Vec<_> = others.collect();
    take(&locked);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(locked.word.try_lock(now), "nobody has it");
}

#[test]
fn a_mutex_is_one_threads_at_a_time_and_nobody_sleeps_for_ever() {
    Model::new("mutex", || mutex(2, size(2, 5)))
        .holds()
        .rejects(Mistake::LockRemembers, DEADLOCK)
        .rejects(Mistake::LockWaitsUnseen, DEADLOCK)
        .rejects(Mistake::LockWakesNobody, DEADLOCK)
        .loom_rejects(Mistake::LockReleasesUnordered, RACE);
    Model::new("mutex, three threads", || mutex(3, 1))
        .preemptions(2)
        .holds()
        .rejects(Mistake::LockWakesNobody, DEADLOCK);
}

/// Writers and readers take a lock that was forgotten.
fn rwlock(writers: usize, readers: usize) {
    let (before, now) = (Opening::numbered(5), Opening::numbered(6));
    let locked = Locked::new(RwWord::new());
    locked.word.write(before);
    let write = move |locked: &Locked<RwWord>| {
        locked.word.write(now);
        locked.change();
        locked.word.unlock_write();
    };
    let read = move |locked: &Locked<RwWord>| {
        locked.word.read(now);
        locked.read();
        locked.word.unlock_read();
    };
    let mut others = Vec::new();
    for _ in 0..readers {
        let locked = locked.clone();
        others.push(thread::spawn(move || read(&locked)));
    }
    for _ in 1..writers {
        let locked = locked.clone();
        others.push(thread::spawn(move || write(&locked)));
    }
    write(&locked);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(locked.word.try_write(now).is_ok(), "nobody has it");
}

#[test]
fn a_writer_is_alone_and_nobody_sleeps_for_ever() {
    Model::new("rwlock, a writer and a reader", || rwlock(1, 1))
        .holds()
        .rejects(Mistake::LockRemembers, DEADLOCK)
        .rejects(Mistake::LockWaitsUnseen, DEADLOCK)
        .rejects(Mistake::LockWakesNobody, DEADLOCK)
        .rejects(Mistake::WriterIgnoresReaders, "")
        .loom_rejects(Mistake::LockReleasesUnordered, RACE);
    Model::new("rwlock, a writer and two readers", || rwlock(1, 2))
        .preemptions(2)
        .holds()
        .rejects(Mistake::WriterIgnoresReaders, "");
    Model::new("rwlock, two writers and a reader", || rwlock(2, size(1, 3)))
        .preemptions(2)
        .holds()
        .rejects(Mistake::LockWakesNobody, DEADLOCK);
}
