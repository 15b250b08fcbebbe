//! The gate under ThreadSanitizer: sections and cuts of real threads change the same places, which is no race only because of the gate (G1, G2).
//!
//! No part of the workspace: `.ci/run` compiles it by itself, because the sanitizer needs the nightly compiler and finds races that are none wherever
//! a lock of std orders two uses (std itself is not instrumented). The gate orders them by atomics, which are. With the argument `racy` one thread
//! does not ask the gate, and the sanitizer must say so.

#![allow(dead_code, unused_imports, unused_macros, reason = "files of the engine, of which this uses a part")]

#[path = "../../heap/src/checkpoint/gate.rs"]
mod gate;
#[path = "../../heap/src/base/mistakes.rs"]
mod mistakes;
#[path = "../../heap/src/base/sync.rs"]
mod sync;

mod base {
    pub(crate) use crate::{mistakes::Mistake, sync};
}

use gate::{Gate, Turnstile};
use mistakes::Mistake;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

const THREADS: usize = 3;
const CUTS: usize = 3_000;

static STOP: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct Place(UnsafeCell<u64>);

// SAFETY: used inside a section of one thread, or while the gate is closed; with `racy` it is not, which is the point.
unsafe impl Sync for Place {}

impl Place {
    fn change(&self) {
        let place = std::hint::black_box(self.0.get());
        // SAFETY: as above.
        unsafe { *place += 1 };
    }
}

fn main() {
    let racy = std::env::args().nth(1).is_some_and(|argument| argument == "racy");
    // Leaked: whoever drops what threads share has to be ordered after them, and that is done in std.
    let gate: &'static Gate = Box::leak(Box::new(Gate::new()));
    let turnstiles: &'static [Turnstile] = Vec::leak((0..THREADS).map(|_| Turnstile::new()).collect());
    let places: &'static [Place] = Vec::leak((0..THREADS).map(|_| Place::default()).collect());
    let threads: Vec<_> = turnstiles
        .iter()
        .zip(places)
        .enumerate()
        .map(|(number, (turnstile, place))| {
            std::thread::spawn(move || {
                let mut sections = 0u64;
                // Relaxed: it must not order what the gate is there to order.
                while !STOP.load(Ordering::Relaxed) {
                    sections += 1;
                    if racy && number == 0 {
                        place.change();
                        continue;
                    }
                    gate.enter(turnstile);
                    place.change();
                    gate.leave(turnstile);
                }
                sections
            })
        })
        .collect();
    for _ in 0..CUTS {
        let _closed = gate.close(turnstiles.iter());
        places.iter().for_each(Place::change);
    }
    STOP.store(true, Ordering::Relaxed);
    let sections: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
    println!("{CUTS} cuts, sections of each thread: {sections:?}");
}
