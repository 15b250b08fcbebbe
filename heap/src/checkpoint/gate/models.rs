//! G1 to G3, in every order.

use super::*;
use crate::base::models::{DEADLOCK, Model, size};
use crate::base::sync::thread;
use std::sync::Arc;

/// `workers` threads change two places alike inside `sections` sections each; each of `cuts` cuts must see them alike.
fn sections(workers: usize, sections: usize, cuts: usize) {
    let gate = Arc::new(Gate::new());
    let turnstiles: Arc<Vec<_>> = Arc::new((0..workers).map(|_| Turnstile::new()).collect());
    let state = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let workers: Vec<_> = (0..workers)
        .map(|i| {
            let (gate, turnstiles, state) = (gate.clone(), turnstiles.clone(), state.clone());
            thread::spawn(move || {
                for _ in 0..sections {
                    gate.enter(&turnstiles[i]);
                    state[0].fetch_add(1, Ordering::Relaxed);
                    state[1].fetch_add(1, Ordering::Relaxed);
                    gate.leave(&turnstiles[i]);
                }
            })
        })
        .collect();
    for _ in 0..cuts {
        let _closed = gate.close(turnstiles.iter());
        assert!(state[0].load(Ordering::Relaxed) == state[1].load(Ordering::Relaxed), "a section was split");
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_cut_never_splits_a_section() {
    Model::new("gate, a section and a cut", || sections(size(1, 3), size(1, 5), size(1, 4)))
        .holds()
        .rejects(Mistake::GateLooksFirst, "a section was split")
        .loom_rejects(Mistake::GateClosesLast, "a section was split")
        .loom_rejects(Mistake::AnnouncesUnfenced, "a section was split")
        .loom_rejects(Mistake::GateLeavesSilently, DEADLOCK);
}

#[test]
fn cuts_never_split_one_of_two_threads_sections() {
    Model::new("gate, two threads and a cut", || sections(2, 1, 1))
        .preemptions(3)
        .holds()
        .rejects(Mistake::GateLooksFirst, "a section was split");
    Model::new("gate, two sections and two cuts", || sections(1, 2, 2))
        .preemptions(4)
        .holds()
        .loom_rejects(Mistake::GateClosesLast, "a section was split");
}

/// G3: what is read while nobody moves is what the cut finds.
fn still(sections: usize) {
    let (gate, turnstile) = (Arc::new(Gate::new()), Arc::new(Turnstile::new()));
    let state = Arc::new(AtomicU64::new(0));
    let worker = {
        let (gate, turnstile, state) = (gate.clone(), turnstile.clone(), state.clone());
        thread::spawn(move || {
            for _ in 0..sections {
                gate.enter(&turnstile);
                state.fetch_add(1, Ordering::Relaxed);
                gate.leave(&turnstile);
            }
        })
    };
    for _ in 0..sections {
        let (before, read) = (turnstile.still(), state.load(Ordering::Relaxed));
        let closed = gate.close([&*turnstile].into_iter());
        if before.is_some() && before == turnstile.still() {
            assert!(read == state.load(Ordering::Relaxed), "something moved");
        }
        drop(closed);
    }
    worker.join().unwrap();
}

#[test]
fn nothing_changes_while_nobody_moves() {
    Model::new("gate, still", || still(size(1, 5)))
        .holds()
        .rejects(Mistake::GateCountsEntries, "something moved")
        .loom_rejects(Mistake::GateStillUnordered, "something moved");
}
