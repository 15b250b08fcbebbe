//! [`PRwLock`]: many readers or one writer, for what lives in a heap.

use super::word::RwWord;
use crate::alloc::opening_at;
use crate::base::Result;
use crate::typed::{Persist, Schema, Walker};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A lock around a value in a heap that many threads may read, or one may write. The persistent `RwLock`.
///
/// What [`PMutex`](crate::PMutex) says of sections, deadlocks, panics, leaked guards and the catching of writes holds for it as well. Readers write the word of the lock, so
/// a value that is only read is recorded once a checkpoint all the same.
///
/// Those who come while a thread waits for the lock, wait as well. So a thread that has it and wants it again, also to read twice, may wait for itself.
#[repr(C)]
pub struct PRwLock<T> {
    word: RwWord,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread access to change the value, which can be sent to it, or several threads shared access, which they can have.
unsafe impl<T: Send + Sync> Sync for PRwLock<T> {}

/// A reader's part in a lock, until this is dropped.
#[must_use = "the lock is released at once when its guard is not kept"]
pub struct PRwLockReadGuard<'a, T> {
    lock: &'a PRwLock<T>,
    /// As for [`PMutexGuard`](crate::PMutexGuard).
    _not_send: PhantomData<*mut ()>,
}

/// A lock that a writer has until this is dropped.
#[must_use = "the lock is released at once when its guard is not kept"]
pub struct PRwLockWriteGuard<'a, T> {
    lock: &'a PRwLock<T>,
    /// As for [`PMutexGuard`](crate::PMutexGuard).
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives out shared references to the value only.
unsafe impl<T: Sync> Sync for PRwLockReadGuard<'_, T> {}
// SAFETY: same.
unsafe impl<T: Sync> Sync for PRwLockWriteGuard<'_, T> {}

impl<T> PRwLock<T> {
    /// A lock around `value`, unlocked.
    pub fn new(value: T) -> Self {
        Self { word: RwWord::new(), value: UnsafeCell::new(value) }
    }

    /// Locks to read; sleeps while a writer has the lock, or someone waits for it.
    ///
    /// # Panics
    /// If there are more than four million readers, most of whose guards were leaked.
    #[inline]
    pub fn read(&self) -> PRwLockReadGuard<'_, T> {
        self.word.read(opening_at((&raw const *self).cast()));
        PRwLockReadGuard { lock: self, _not_send: PhantomData }
    }

    /// Locks to read, unless a writer has the lock or someone waits for it.
    ///
    /// # Panics
    /// As for [`PRwLock::read`].
    #[inline]
    pub fn try_read(&self) -> Option<PRwLockReadGuard<'_, T>> {
        self.word.try_read(opening_at((&raw const *self).cast())).ok()?;
        Some(PRwLockReadGuard { lock: self, _not_send: PhantomData })
    }

    /// Locks to write; sleeps while anyone has the lock.
    #[inline]
    pub fn write(&self) -> PRwLockWriteGuard<'_, T> {
        self.word.write(opening_at((&raw const *self).cast()));
        PRwLockWriteGuard { lock: self, _not_send: PhantomData }
    }

    /// Locks to write, unless anyone has the lock.
    #[inline]
    pub fn try_write(&self) -> Option<PRwLockWriteGuard<'_, T>> {
        self.word.try_write(opening_at((&raw const *self).cast())).ok()?;
        Some(PRwLockWriteGuard { lock: self, _not_send: PhantomData })
    }

    /// The value, without locking: nobody else has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T> Drop for PRwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.word.unlock_read();
    }
}

impl<T> Drop for PRwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.word.unlock_write();
    }
}

impl<T> Deref for PRwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is one of the readers, so nobody has a unique reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> Deref for PRwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the lock alone, and the reference borrows the guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for PRwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed uniquely.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> From<T> for PRwLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for PRwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(value) => f.debug_tuple("PRwLock").field(&*value).finish(),
            None => f.write_str("PRwLock(<locked>)"),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for PRwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Debug> fmt::Debug for PRwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a word, of which all bytes are valid, and a value, which says the rest; both change through shared references, and it says so.
unsafe impl<T: Persist> Persist for PRwLock<T> {
    type In<'s> = PRwLock<T::In<'s>>;
    const INTERIOR: bool = true;
    fn describe(schema: &mut Schema) -> String {
        format!("PRwLock<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the value lies within, and what holds for the whole holds for it.
        unsafe { T::walk((&raw mut (*this).value).cast(), walker) }
    }
}
