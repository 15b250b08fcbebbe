//! The one place that concurrent state machines take their atomics, locks and threads from, so that models can replace them:
//! `RUSTFLAGS="--cfg loom"` or `"--cfg shuttle"` swaps every name below (`base/models.rs` runs them).

#![cfg_attr(
    any(miri, strewn_twin),
    allow(dead_code, unused_imports, unused_macros, reason = "the signal tracker has no twin")
)]

#[cfg(not(any(loom, shuttle)))]
pub use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
        mpsc,
    },
    thread,
};

#[cfg(loom)]
pub use loom::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
        mpsc,
    },
    thread,
};

#[cfg(shuttle)]
pub use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
        mpsc,
    },
    thread,
};

/// Declares a thread-local: `local!(static NAME: Type = constant);`. In a model each of its threads has one in each execution.
#[cfg(not(any(loom, shuttle)))]
macro_rules! local {
    (static $name:ident: $type:ty = $value:expr) => {
        std::thread_local!(static $name: $type = const { $value });
    };
}
#[cfg(loom)]
macro_rules! local {
    (static $name:ident: $type:ty = $value:expr) => {
        loom::thread_local!(static $name: $type = $value);
    };
}
#[cfg(shuttle)]
macro_rules! local {
    (static $name:ident: $type:ty = $value:expr) => {
        shuttle::thread_local!(static $name: $type = $value);
    };
}
pub(crate) use local;

/// Declares a static: `global!(static NAME: Type = constant);`. In a model each execution has its own, which need not be constant.
#[cfg(not(any(loom, shuttle)))]
macro_rules! global {
    (static $name:ident: $type:ty = $value:expr) => {
        static $name: $type = $value;
    };
}
#[cfg(loom)]
macro_rules! global {
    (static $name:ident: $type:ty = $value:expr) => {
        loom::lazy_static! { static ref $name: $type = $value; }
    };
}
#[cfg(shuttle)]
macro_rules! global {
    (static $name:ident: $type:ty = $value:expr) => {
        shuttle::lazy_static! { static ref $name: $type = $value; }
    };
}
pub(crate) use global;

/// Locks `mutex`, also when a thread panicked while it held the lock.
///
/// Where a panic can leave a structure behind a lock half-done, that structure says so itself (`CutState::begin`); the poison flag of std
/// adds nothing.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Waits on `condvar`, as [`lock`] locks.
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(|poison| poison.into_inner())
}

/// Stores `value`, so that of two threads that each store to one place and then load the other's with [`Ordering::SeqCst`], at least one sees
/// the other's store (Dekker).
///
/// The total order of SeqCst accesses gives that. loom treats such accesses as acquire and release only, but models SeqCst fences, so it gets one.
#[inline]
pub fn announce(place: &AtomicU64, value: u64) {
    place.store(value, Ordering::SeqCst);
    if cfg!(loom) && !super::Mistake::AnnouncesUnfenced.is_made() {
        fence(Ordering::SeqCst);
    }
}

/// What was stored last in `place`, by this thread: no other stores there meanwhile.
#[inline]
pub fn own(place: &AtomicU64) -> u64 {
    // Relaxed: this thread's own last store.
    #[cfg(not(loom))]
    return place.load(Ordering::Relaxed);
    // loom 0.7 leaves out orders in which others look at `place` before a thread that loads from it and then stores there. This is no such load.
    #[cfg(loom)]
    // SAFETY: a read beside which nobody stores, which is what this function is for; loom checks it.
    unsafe {
        place.unsync_load()
    }
}

/// Stands beside something that is no atomic and that a protocol keeps from being used by two threads at once. loom finds two uses that race;
/// in every other build this is nothing.
#[derive(Default)]
pub struct Guarded {
    #[cfg(loom)]
    uses: loom::cell::UnsafeCell<()>,
}

#[cfg(loom)]
// SAFETY: the cell holds nothing; loom's check of its uses is what it is for.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Says that what stands beside this is changed now.
    #[inline(always)]
    pub fn change(&self) {
        #[cfg(loom)]
        self.uses.with_mut(|_| ());
    }

    /// Says that what stands beside this is read now.
    #[inline(always)]
    pub fn read(&self) {
        #[cfg(loom)]
        self.uses.with(|_| ());
    }
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
