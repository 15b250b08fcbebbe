//! [`Count`]: how many owners an object has.
//!
//! - N1. [`Count::remove`] returns true once, for the last owner; what all others did with the object happens before.

use crate::base::Mistake;
use crate::base::sync::{AtomicU64, Ordering, fence};

/// More owners are refused, long before the count could overflow.
pub const MOST: u64 = 1 << 62;

/// How many owners an object has.
pub struct Count(AtomicU64);

impl Count {
    /// One owner.
    pub fn one() -> Self {
        Self(AtomicU64::new(1))
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        // Relaxed: a number to look at.
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the caller is the only owner.
    pub fn is_one(&self) -> bool {
        // Acquire: what those who were owners did happens before what this one does (pairs with the release in `remove`).
        self.0.load(Ordering::Acquire) == 1
    }

    /// One owner more, made by another one.
    ///
    /// # Panics
    /// If there are too many.
    #[inline]
    pub fn add(&self) {
        // Relaxed: whoever adds is an owner, so nothing ends meanwhile; how it hands the new owner to another thread is what orders.
        if self.0.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.0.fetch_sub(1, Ordering::Relaxed);
            panic!("an object in a heap has {MOST} owners, and cannot have more");
        }
    }

    /// One owner less. True if it was the last.
    #[inline]
    pub fn remove(&self) -> bool {
        if Mistake::CountLooksFirst.is_made() {
            let is_last = self.get() == 1;
            self.0.fetch_sub(1, Ordering::Release);
            return is_last;
        }
        // Release: what this owner did with the object happens before its end; pairs with the fence of the last one.
        let order = if Mistake::CountReleasesUnordered.is_made() { Ordering::Relaxed } else { Ordering::Release };
        if self.0.fetch_sub(1, order) != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }
}
