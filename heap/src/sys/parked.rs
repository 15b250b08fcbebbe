//! The twin of `futex.rs`, also for models: one lock and one condition for all words, so everyone is woken, and looks again. Over the locks of `base/sync.rs`, unlike the
//! rest of this folder: models look at it.

use crate::base::sync::{AtomicU64, Condvar, Mutex, Ordering, global, lock};

struct Lot {
    asleep: Mutex<()>,
    woken: Condvar,
}

global!(static LOT: Lot = Lot { asleep: Mutex::new(()), woken: Condvar::new() });

/// Sleeps until it is woken, unless the lower half of `word` is not that of `expected` any more. It may return for no reason.
pub fn wait(word: &AtomicU64, expected: u64) {
    let asleep = lock(&LOT.asleep);
    // Relaxed: a change that is not seen under the lock is followed by a waking, which takes the lock.
    if word.load(Ordering::Relaxed) as u32 == expected as u32 {
        drop(crate::base::sync::wait(&LOT.woken, asleep));
    }
}

/// Wakes everyone.
pub fn wake_one(word: *const AtomicU64) {
    wake_all(word);
}

/// Wakes everyone.
pub fn wake_all(_: *const AtomicU64) {
    let _asleep = lock(&LOT.asleep);
    LOT.woken.notify_all();
}
