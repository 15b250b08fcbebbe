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

use crate::base::sync::{AtomicU64, Condvar, Mutex, Ordering, announce, lock};

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
        Some(self.moves.load(Ordering::Acquire)).filter(|moves| moves % 2 == 0)
    }

    fn is_inside(&self) -> bool {
        // SeqCst: see the proof of G1; acquires what the thread did inside (G2).
        self.moves.load(Ordering::SeqCst) % 2 == 1
    }

    /// One step, in or out.
    #[inline]
    fn step(&self) {
        // Relaxed: this thread's own last store. SeqCst store: see the proof of G1.
        announce(&self.moves, self.moves.load(Ordering::Relaxed) + 1);
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
        if self.is_closed() {
            self.wake();
        }
    }

    /// Closes the gate and waits until everyone in `all` is outside. The caller sees to it that only one cut runs at a time,
    /// that nobody is added to `all` meanwhile, and that it is not inside itself.
    pub fn close<'t>(&self, all: impl Iterator<Item = &'t Turnstile>) -> Closed<'_> {
        // SeqCst: see the proof of G1.
        announce(&self.closed, 1);
        let closed = Closed { gate: self };
        for turnstile in all {
            self.wait_outside(turnstile);
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
            guard = self.moved.wait(guard).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    #[cold]
    fn enter_slow(&self, at: &Turnstile) {
        loop {
            at.step();
            let mut guard = lock(&self.waiting);
            self.moved.notify_all();
            while self.is_closed() {
                guard = self.moved.wait(guard).unwrap_or_else(|poison| poison.into_inner());
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
const SPINS: u32 = if cfg!(any(loom, miri)) { 0 } else { 2000 };

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::sync::{Arc, atomic::AtomicBool};
    use loom::thread;

    /// `workers` threads change two places alike inside `sections` sections each; each of `cuts` cuts must see them alike.
    fn model(workers: usize, sections: u64, cuts: usize, preemption_bound: Option<usize>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemption_bound;
        builder.check(move || {
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
                assert_eq!(state[0].load(Ordering::Relaxed), state[1].load(Ordering::Relaxed));
            }
            workers.into_iter().for_each(|w| w.join().unwrap());
        });
    }

    #[test]
    fn a_cut_never_splits_a_section() {
        model(1, 1, 1, None);
    }

    #[test]
    fn cuts_never_split_one_of_two_threads_sections() {
        model(2, 1, 1, Some(2));
        model(1, 2, 2, Some(2));
    }

    /// G3: what is read while nobody moves is what the cut finds.
    #[test]
    fn nothing_changes_while_nobody_moves() {
        loom::model(|| {
            let (gate, turnstile) = (Arc::new(Gate::new()), Arc::new(Turnstile::new()));
            let state = Arc::new(AtomicU64::new(0));
            let worker = {
                let (gate, turnstile, state) = (gate.clone(), turnstile.clone(), state.clone());
                thread::spawn(move || {
                    gate.enter(&turnstile);
                    state.store(1, Ordering::Relaxed);
                    gate.leave(&turnstile);
                })
            };
            let (before, read) = (turnstile.still(), state.load(Ordering::Relaxed));
            let closed = gate.close([&*turnstile].into_iter());
            if before.is_some() && before == turnstile.still() {
                assert_eq!(read, state.load(Ordering::Relaxed));
            }
            drop(closed);
            worker.join().unwrap();
        });
    }

    /// The same with a gate whose thread looks before it steps: loom must find the split section.
    #[test]
    #[should_panic(expected = "split")]
    fn the_model_rejects_a_gate_that_looks_first() {
        loom::model(|| {
            let closed = Arc::new(AtomicBool::new(false));
            let inside = Arc::new(AtomicBool::new(false));
            let state = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let worker = {
                let (closed, inside, state) = (closed.clone(), inside.clone(), state.clone());
                thread::spawn(move || {
                    if !closed.load(Ordering::SeqCst) {
                        inside.store(true, Ordering::SeqCst);
                        state[0].fetch_add(1, Ordering::Relaxed);
                        state[1].fetch_add(1, Ordering::Relaxed);
                        inside.store(false, Ordering::SeqCst);
                    }
                })
            };
            closed.store(true, Ordering::SeqCst);
            while inside.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(state[0].load(Ordering::Relaxed) == state[1].load(Ordering::Relaxed), "split");
            worker.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
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
