//! The one place that concurrent state machines take their atomics and locks from, so that loom can
//! replace them: `RUSTFLAGS="--cfg loom"` swaps every name below.

#[cfg(not(loom))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(loom)]
pub use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Locks `mutex`, also when a thread panicked while it held the lock.
///
/// Every structure behind a lock of this crate is whole at each point that can panic, so the poison
/// flag of std says nothing that matters here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
