//! A ticket is resolved once, and whoever waits for it is told.

use super::*;
use crate::base::models::{DEADLOCK, Model, size};
use crate::base::sync::thread;

/// One thread resolves what others wait for and look at.
fn waiters(waiters: usize) {
    let pending = Arc::new(Pending::default());
    let waiters: Vec<_> = (0..waiters)
        .map(|_| {
            let ticket = Ticket::new(pending.clone(), CutReport { epoch: 7, ..CutReport::default() });
            thread::spawn(move || {
                let early = ticket.try_wait();
                let known = ticket.wait().unwrap();
                assert!(early.is_none_or(|early| early.unwrap() == known));
                assert!(ticket.try_wait().is_some(), "an outcome was forgotten");
            })
        })
        .collect();
    pending.resolve(Ok(Epoch(7)));
    waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
}

#[test]
fn whoever_waits_for_a_ticket_is_told() {
    Model::new("ticket", || waiters(size(2, 4)))
        .holds()
        .rejects(Mistake::TicketWakesNobody, DEADLOCK)
        .rejects(Mistake::TicketLooksOnce, DEADLOCK);
}
