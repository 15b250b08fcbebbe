//! The one place that concurrent state machines take their atomics and locks from, so that loom can
//! replace them: `RUSTFLAGS="--cfg loom"` swaps every name below.

#[cfg(not(loom))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(loom)]
pub use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

/// Locks `mutex`, also when a thread panicked while it held the lock.
///
/// Where a panic can leave a structure behind a lock half-done, that structure says so itself (`CutState::begin`); the poison flag of std
/// adds nothing.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Stores `value`, so that of two threads that each store to one place and then load the other's with [`Ordering::SeqCst`], at least one sees
/// the other's store (Dekker).
///
/// The total order of SeqCst accesses gives that. loom treats such accesses as acquire and release only, but models SeqCst fences, so it gets one.
#[inline]
pub fn announce(place: &AtomicU64, value: u64) {
    place.store(value, Ordering::SeqCst);
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Sets a flag when it is dropped: threads that go on until then end also when the test that waits for them panics. Real threads, so never loom's flag.
#[cfg(test)]
pub struct StopOnDrop<'a>(pub &'a std::sync::atomic::AtomicBool);

#[cfg(test)]
impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // Relaxed: nothing but the flag is shared.
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
