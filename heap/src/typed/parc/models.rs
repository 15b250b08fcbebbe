//! N1, in every order.

use super::count::Count;
use crate::base::Mistake;
use crate::base::models::{Model, RACE, size};
use crate::base::sync::{AtomicU64, Guarded, Ordering, thread};
use std::sync::Arc;

/// An object with a count; `ends` counts how often it is freed.
struct Object {
    count: Count,
    guarded: Guarded,
    ends: AtomicU64,
}

impl Object {
    /// What an owner does: looks, clones, drops both.
    fn own(&self, clones: usize) {
        for _ in 0..clones {
            self.count.add();
            self.guarded.read();
            self.leave();
        }
        self.guarded.read();
        self.leave();
    }

    fn leave(&self) {
        if self.count.remove() {
            self.guarded.change();
            self.ends.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn owners(owners: usize, clones: usize) {
    let object = Arc::new(Object { count: Count::one(), guarded: Guarded::default(), ends: AtomicU64::new(0) });
    let others = (1..owners).map(|_| {
        object.count.add();
        let object = object.clone();
        thread::spawn(move || object.own(clones))
    });
    let others: Vec<_> = others.collect();
    object.own(clones);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(object.ends.load(Ordering::Relaxed) == 1, "freed once");
}

/// One of two owners changes the object when it is the only one.
fn the_only_one() {
    let object = Arc::new(Object { count: Count::one(), guarded: Guarded::default(), ends: AtomicU64::new(0) });
    object.count.add();
    let theirs = object.clone();
    let other = thread::spawn(move || theirs.own(0));
    if object.count.is_one() {
        object.guarded.change();
    }
    object.own(0);
    other.join().unwrap();
}

#[test]
fn the_last_owner_frees_and_comes_after_all_others() {
    Model::new("shared object", || owners(2, size(1, 5)))
        .holds()
        .rejects(Mistake::CountLooksFirst, RACE)
        .loom_rejects(Mistake::CountReleasesUnordered, RACE);
    Model::new("shared object, three owners", || owners(3, 0)).holds().rejects(Mistake::CountLooksFirst, "");
    Model::new("shared object, the only owner", the_only_one)
        .holds()
        .loom_rejects(Mistake::CountReleasesUnordered, RACE);
}
