//! [`MutexWord`] and [`RwWord`]: the state of a lock, in one word of the heap.
//!
//! ```text
//!  63                          24   23      22    21               0
//! +------------------------------+--------+------+------------------+
//! | opening                      | WAITED | HELD | readers          |
//! +------------------------------+--------+------+------------------+
//! ```
//! - X1. A word that has not the number of this opening in it is unlocked, whatever else it says. A lock that nobody holds is 0; so a word of another opening is one that was
//!   held when its heap was last cut: its guard was forgotten.
//! - X2. A word that has the number of this opening in it is held. Whoever sleeps on it had set `WAITED` before, and it stays set until the word is 0.
//! - X3. Whoever makes the word 0 and finds `WAITED` set wakes: one where only one can go on, else all.
//!
//! Waiting is left to the kernel at once, without spinning: sections are short, but a page that is written for the first time since a cut takes a microsecond.

use crate::alloc::Opening;
use crate::base::Mistake;
use crate::base::sync::{AtomicU64, Ordering};
use crate::sys::futex;

const READERS: u64 = (1 << 22) - 1;
const HELD: u64 = 1 << 22;
const WAITED: u64 = 1 << 23;
const STATE_BITS: u32 = 24;

/// The word of an `opening` in `state`.
#[inline]
fn word(opening: Opening, state: u64) -> u64 {
    opening.number() << STATE_BITS | state
}

/// The state that `word` says (X1).
#[inline]
fn state(opening: Opening, word: u64) -> u64 {
    let is_ours = word >> STATE_BITS == opening.number() || Mistake::LockRemembers.is_made();
    if is_ours { word & ((1 << STATE_BITS) - 1) } else { 0 }
}

/// Acquire: pairs with [`releasing`], so that whoever has the lock sees what those who had it before did.
const ACQUIRING: Ordering = Ordering::Acquire;

/// Release: see [`ACQUIRING`].
#[inline]
fn releasing() -> Ordering {
    if Mistake::LockReleasesUnordered.is_made() { Ordering::Relaxed } else { Ordering::Release }
}

/// The state of a mutex.
pub struct MutexWord(AtomicU64);

impl MutexWord {
    /// Unlocked.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Locks it, if it is not locked.
    #[inline]
    pub fn try_lock(&self, opening: Opening) -> bool {
        let mut found = 0;
        loop {
            match self.0.compare_exchange(found, word(opening, HELD), ACQUIRING, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) if state(opening, now) != 0 => return false,
                // It was forgotten by another opening, and is taken from what it is: another thread may be doing the same.
                Err(now) => found = now,
            }
        }
    }

    /// Locks it; sleeps while another has it.
    #[inline]
    pub fn lock(&self, opening: Opening) {
        if !self.try_lock(opening) {
            self.lock_slow(opening);
        }
    }

    #[cold]
    fn lock_slow(&self, opening: Opening) {
        // Whoever gets it here may not be the last that waited, and so says that someone waits.
        let waited = word(opening, if Mistake::LockWaitsUnseen.is_made() { HELD } else { HELD | WAITED });
        while state(opening, self.0.swap(waited, ACQUIRING)) != 0 {
            futex::wait(&self.0, waited);
        }
    }

    /// Unlocks it.
    #[inline]
    pub fn unlock(&self) {
        let at = &raw const self.0;
        if self.0.swap(0, releasing()) & WAITED != 0 && !Mistake::LockWakesNobody.is_made() {
            // Another may have had the lock since, and freed it with all that was around it.
            futex::wake_one(at);
        }
    }
}

/// The state of a lock for readers and writers. Those who come while someone waits, wait as well; so readers do not keep a writer out for ever.
pub struct RwWord(AtomicU64);

impl RwWord {
    /// Unlocked.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Locks it for a reader, if no writer has it, and nobody waits.
    ///
    /// # Errors
    /// What the word is.
    #[inline]
    pub fn try_read(&self, opening: Opening) -> Result<(), u64> {
        self.take(opening, |state| match state {
            0..READERS => Some(state + 1),
            READERS => panic!("a PRwLock has {READERS} readers, and cannot have more"),
            _ => None,
        })
    }

    /// Locks it for a writer, if nobody has it.
    ///
    /// # Errors
    /// What the word is.
    #[inline]
    pub fn try_write(&self, opening: Opening) -> Result<(), u64> {
        self.take(opening, |state| {
            let is_free = if Mistake::WriterIgnoresReaders.is_made() { state < HELD } else { state == 0 };
            is_free.then_some(HELD)
        })
    }

    /// Locks it for a reader; sleeps while a writer has it or someone waits.
    #[inline]
    pub fn read(&self, opening: Opening) {
        while let Err(found) = self.try_read(opening) {
            self.sleep(opening, found);
        }
    }

    /// Locks it for a writer; sleeps while anyone has it.
    #[inline]
    pub fn write(&self, opening: Opening) {
        while let Err(found) = self.try_write(opening) {
            self.sleep(opening, found);
        }
    }

    /// Ends a reader's lock.
    #[inline]
    pub fn unlock_read(&self) {
        let at = &raw const self.0;
        // Relaxed: only this thread's own part in the number matters, which is in there.
        let mut found = self.0.load(Ordering::Relaxed);
        loop {
            let left = if found & READERS == 1 { 0 } else { found - 1 };
            match self.0.compare_exchange_weak(found, left, releasing(), Ordering::Relaxed) {
                Ok(_) if left == 0 => return wake(at, found),
                Ok(_) => return,
                Err(now) => found = now,
            }
        }
    }

    /// Ends a writer's lock.
    #[inline]
    pub fn unlock_write(&self) {
        let at = &raw const self.0;
        wake(at, self.0.swap(0, releasing()));
    }

    /// Goes from the present state to what `next` says; fails where that is nothing.
    #[inline]
    fn take(&self, opening: Opening, next: impl Fn(u64) -> Option<u64>) -> Result<(), u64> {
        // Relaxed: what is found is compared again.
        let mut found = self.0.load(Ordering::Relaxed);
        loop {
            let Some(next) = next(state(opening, found)) else { return Err(found) };
            match self.0.compare_exchange_weak(found, word(opening, next), ACQUIRING, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => found = now,
            }
        }
    }

    /// Sleeps on `found`, which is held (X2).
    #[cold]
    fn sleep(&self, opening: Opening, found: u64) {
        let waited = word(opening, state(opening, found) | if Mistake::LockWaitsUnseen.is_made() { 0 } else { WAITED });
        // Relaxed: it takes nothing.
        if found == waited || self.0.compare_exchange(found, waited, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            futex::wait(&self.0, waited);
        }
    }
}

/// X3, for a word that was `found` and is 0 now.
#[inline]
fn wake(at: *const AtomicU64, found: u64) {
    if found & WAITED != 0 && !Mistake::LockWakesNobody.is_made() {
        futex::wake_all(at);
    }
}
