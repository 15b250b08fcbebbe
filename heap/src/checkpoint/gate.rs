//! [`Gate`]: keeps a cut from splitting a section.
//!
//! A thread enters with one store, one fence and one load. A cut closes the gate and waits until every thread is outside.
//!
//! Invariants:
//! - G1. While a [`Closed`] exists, no [`Turnstile`] registered with its cut is inside.
//! - G2. What a thread did inside happens before a cut that waited for it, and what a cut did happens before a section that begins after it.
//! - G3. If [`Turnstile::still`] gives the same number before and while the gate is closed, the thread was inside at no moment in between.
//!
//! The proof of G1 is Dekker's: `enter` stores `moves`, then loads `closed`; `close` stores `closed`, then loads `moves`; all four are SeqCst,
//! so in their single total order at least one of the two sees the other's store. If `enter` sees it, it steps back; if `close` sees it, it waits.
//!
//! G3: a thread's moves only grow, and while the gate is closed that of its last leaving is seen (G1); what a thread adds when it steps in and back again at the closed gate
//! may be missed, and nothing is written in between. If what is seen is an even number that was seen before, it was that of the last leaving then as well, and all that the
//! thread did inside happens before that look.

use crate::base::Mistake;
use crate::base::sync::{AtomicU64, Condvar, Mutex, Ordering, announce, lock, own, wait};

/// The gate of one heap.
pub struct Gate {
    /// 1 while it is closed, else 0.
    closed: AtomicU64,
    waiting: Mutex<()>,
    moved: Condvar,
}

/// One thread's place at the gate.
pub struct Turnstile {
    /// How often its thread has gone in or out: odd while it is inside. Only that thread stores here.
    moves: AtomicU64,
}

/// The gate is closed for as long as this lives.
pub struct Closed<'g> {
    gate: &'g Gate,
}

impl Turnstile {
    /// A turnstile, outside.
    pub fn new() -> Self {
        Self { moves: AtomicU64::new(0) }
    }

    /// How often the thread has gone in or out; None while it is inside. See G3.
    pub fn still(&self) -> Option<u64> {
        // Acquire: what the thread did inside happens before whatever the caller does next.
        let order = if Mistake::GateStillUnordered.is_made() { Ordering::Relaxed } else { Ordering::Acquire };
        let moves = self.moves.load(order);
        if Mistake::GateCountsEntries.is_made() {
            return Some(moves.div_ceil(2));
        }
        Some(moves).filter(|moves| moves % 2 == 0)
    }

    fn is_inside(&self) -> bool {
        // SeqCst: see the proof of G1; acquires what the thread did inside (G2).
        self.moves.load(Ordering::SeqCst) % 2 == 1
    }

    /// One step, in or out.
    #[inline]
    fn step(&self) {
        // SeqCst store: see the proof of G1.
        announce(&self.moves, own(&self.moves) + 1);
    }
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Self { closed: AtomicU64::new(0), waiting: Mutex::new(()), moved: Condvar::new() }
    }

    /// Goes inside; blocks while the gate is closed.
    #[inline]
    pub fn enter(&self, at: &Turnstile) {
        if Mistake::GateLooksFirst.is_made() && !self.is_closed() {
            return at.step();
        }
        at.step();
        if self.is_closed() {
            self.enter_slow(at);
        }
    }

    /// Goes outside.
    #[inline]
    pub fn leave(&self, at: &Turnstile) {
        // SeqCst: a cut that sees this store acquires what the section did (G2); and either the load sees the cut's store to `closed`, and
        // wakes it, or the cut sees the thread outside, and need not be woken.
        at.step();
        if self.is_closed() && !Mistake::GateLeavesSilently.is_made() {
            self.wake();
        }
    }

    /// Closes the gate and waits until everyone in `all` is outside. The caller sees to it that only one cut runs at a time,
    /// that nobody is added to `all` meanwhile, and that it is not inside itself.
    pub fn close<'t>(&self, all: impl Iterator<Item = &'t Turnstile>) -> Closed<'_> {
        // SeqCst: see the proof of G1.
        if !Mistake::GateClosesLast.is_made() {
            announce(&self.closed, 1);
        }
        let closed = Closed { gate: self };
        for turnstile in all {
            self.wait_outside(turnstile);
        }
        if Mistake::GateClosesLast.is_made() {
            announce(&self.closed, 1);
        }
        closed
    }

    fn wait_outside(&self, at: &Turnstile) {
        for _ in 0..SPINS {
            if !at.is_inside() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.waiting);
        // Under the lock: a `leave` that is not seen here wakes later, because `wake` takes the lock.
        while at.is_inside() {
            guard = wait(&self.moved, guard);
        }
    }

    #[cold]
    fn enter_slow(&self, at: &Turnstile) {
        loop {
            at.step();
            let mut guard = lock(&self.waiting);
            self.moved.notify_all();
            while self.is_closed() {
                guard = wait(&self.moved, guard);
            }
            drop(guard);
            at.step();
            if !self.is_closed() {
                return;
            }
        }
    }

    #[inline]
    fn is_closed(&self) -> bool {
        // SeqCst: see the proof of G1. Acquires what the cut that opened the gate did (G2).
        self.closed.load(Ordering::SeqCst) == 1
    }

    #[cold]
    fn wake(&self) {
        let _guard = lock(&self.waiting);
        self.moved.notify_all();
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        // SeqCst store before `wake` takes the lock: a thread that still sees `closed` under the lock waits, and is woken.
        announce(&self.gate.closed, 0);
        self.gate.wake();
    }
}

/// How often a cut looks before it sleeps: sections are short.
const SPINS: u32 = if cfg!(any(loom, shuttle, miri)) { 0 } else { 2000 };

#[cfg(all(test, any(loom, shuttle)))]
mod models;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::sync::StopOnDrop;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn sections_are_whole_at_every_cut() {
        let gate = Gate::new();
        let turnstiles = [Turnstile::new(), Turnstile::new(), Turnstile::new()];
        let counts = [AtomicU64::new(0), AtomicU64::new(0)];
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for turnstile in &turnstiles {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        gate.enter(turnstile);
                        counts[0].fetch_add(1, Ordering::Relaxed);
                        counts[1].fetch_add(1, Ordering::Relaxed);
                        gate.leave(turnstile);
                    }
                });
            }
            let _stopping = StopOnDrop(&stop);
            let mut cuts = 0;
            while cuts < 2000 || counts[0].load(Ordering::Relaxed) < 2000 {
                let closed = gate.close(turnstiles.iter());
                assert_eq!(counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed));
                drop(closed);
                cuts += 1;
            }
        });
    }
}
