//! Stopping a ticker that sleeps, is about to sleep, or makes a checkpoint.

use super::*;
use crate::base::ErrorKind;
use crate::base::models::{DEADLOCK, Model, size};

/// A ticker that sleeps until it is stopped.
fn stopped() {
    let shared = Arc::new(Shared::default());
    let ticker = shared.clone();
    let thread = thread::spawn(move || ticker.run(Duration::MAX, || panic!("ticked before the end of time")));
    shared.stop();
    thread.join().unwrap();
}

#[test]
fn a_ticker_that_is_stopped_wakes() {
    Model::new("ticker, asleep", stopped)
        .holds()
        .rejects(Mistake::TickerStopsSilently, DEADLOCK)
        .rejects(Mistake::TickerSleepsBlindly, DEADLOCK);
}

/// A ticker that never sleeps, whose checkpoints all fail, until the heap is closed. Each start or question begins a new count of failures.
fn failing(ticks: usize, questions: usize) {
    let shared = Arc::new(Shared::default());
    let ticker = shared.clone();
    let thread = thread::spawn(move || {
        let mut ticked = 0;
        ticker.run(Duration::ZERO, || {
            ticked += 1;
            (ticked <= ticks).then(|| Err(Error::new(ErrorKind::Io, format!("tick {ticked}"))))
        });
        ticked.min(ticks)
    });
    let mut failures: Vec<_> = (0..questions).filter_map(|_| shared.take_failure()).collect();
    shared.stop();
    let ticked = thread.join().unwrap();
    failures.extend(shared.take_failure());
    let numbers: Vec<_> = failures.iter().map(|e| e.to_string()).collect();
    assert!(ticked == 0 || numbers.first().is_some_and(|first| first.contains("tick 1")), "the first failure was lost");
    assert!(numbers.is_sorted(), "a failure was told twice");
}

#[test]
fn the_first_failure_of_a_ticker_is_told() {
    Model::new("ticker, failing", || failing(size(2, 6), size(1, 4)))
        .holds()
        .rejects(Mistake::TickerForgetsFirst, "the first failure was lost");
}
