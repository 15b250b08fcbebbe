//! Locks that live in a heap: [`PMutex`], [`PRwLock`], over the words of `word.rs`.

mod mutex;
mod rwlock;
mod word;

pub use mutex::{PMutex, PMutexGuard};
pub use rwlock::{PRwLock, PRwLockReadGuard, PRwLockWriteGuard};

#[cfg(all(test, any(loom, shuttle)))]
mod models;
