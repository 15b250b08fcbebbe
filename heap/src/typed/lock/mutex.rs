//! [`PMutex`]: mutual exclusion for what lives in a heap.

use super::word::MutexWord;
use crate::alloc::opening_at;
use crate::base::Result;
use crate::typed::{Persist, Schema, Walker};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A lock around a value in a heap. The persistent `Mutex`: it lets several threads, each inside a section, change the value through shared references to what is around it.
///
/// ```
/// # use strewn::{Heap, PMutex};
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("mutex.heap"))?;
/// let root = heap.root::<PMutex<u64>>("count", |_| Ok(PMutex::new(0)))?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let section = heap.enter();
///             *root.read(&section).unwrap().lock() += 1;
///         });
///     }
/// });
/// let section = heap.enter();
/// assert_eq!(*root.read(&section)?.lock(), 4);
/// # Ok::<(), strewn::Error>(())
/// ```
///
/// It takes 8 bytes beside the value. A lock that is held when the heap is closed or the process ends (its guard was leaked, for no other can be: guards do not outlive
/// sections) is unlocked when the heap is opened again.
///
/// There is no poisoning. A panic inside a section makes the heap refuse checkpoints, unless [`HeapOptions::on_panic`](crate::HeapOptions::on_panic) says otherwise; so
/// half a change never becomes durable unnoticed, behind a lock or not. The lock itself is unlocked by the unwinding.
///
/// # Deadlocks
/// Locks are held inside sections, and a thread that waits for one is inside one too. So a checkpoint waits for both, and the one that holds the lock can go on, since it is
/// inside already. What must not be waited for while holding a lock, or inside a section at all, is another thread that has yet to enter one. Two locks are to be taken in
/// the same order everywhere, as always; a thread that locks twice waits for itself.
///
/// # How writes are caught
/// Through shared references, values are written through their own lane, where the hardware notices it, also in a heap or a type with a write barrier. An uncontended lock
/// writes its word twice; what is recorded is the value's slot, once a checkpoint.
#[repr(C)]
pub struct PMutex<T> {
    word: MutexWord,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives one thread at a time access to the value, which can be sent to it.
unsafe impl<T: Send> Sync for PMutex<T> {}

/// A lock that is held until this is dropped.
#[must_use = "the lock is released at once when its guard is not kept"]
pub struct PMutexGuard<'a, T> {
    lock: &'a PMutex<T>,
    /// It is unlocked by the thread that locked it, inside the same section.
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives out shared references to the value only.
unsafe impl<T: Sync> Sync for PMutexGuard<'_, T> {}

impl<T> PMutex<T> {
    /// A lock around `value`, unlocked.
    pub fn new(value: T) -> Self {
        Self { word: MutexWord::new(), value: UnsafeCell::new(value) }
    }

    /// Locks; sleeps while another thread has the lock.
    #[inline]
    pub fn lock(&self) -> PMutexGuard<'_, T> {
        self.word.lock(opening_at((&raw const *self).cast()));
        PMutexGuard { lock: self, _not_send: PhantomData }
    }

    /// Locks, unless someone has the lock.
    #[inline]
    pub fn try_lock(&self) -> Option<PMutexGuard<'_, T>> {
        // No guard before there is a lock: it would unlock what is another's.
        if !self.word.try_lock(opening_at((&raw const *self).cast())) {
            return None;
        }
        Some(PMutexGuard { lock: self, _not_send: PhantomData })
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

impl<T> Drop for PMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.word.unlock();
    }
}

impl<T> Deref for PMutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the lock, so nobody else has a reference, and this one borrows the guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for PMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed uniquely.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> From<T> for PMutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: fmt::Debug> fmt::Debug for PMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(value) => f.debug_tuple("PMutex").field(&*value).finish(),
            None => f.write_str("PMutex(<locked>)"),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for PMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for PMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: a word, of which all bytes are valid, and a value, which says the rest; both change through shared references, and it says so.
unsafe impl<T: Persist> Persist for PMutex<T> {
    type In<'s> = PMutex<T::In<'s>>;
    const INTERIOR: bool = true;
    fn describe(schema: &mut Schema) -> String {
        format!("PMutex<{}>", T::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the value lies within, and what holds for the whole holds for it.
        unsafe { T::walk((&raw mut (*this).value).cast(), walker) }
    }
}
