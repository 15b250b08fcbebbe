//! [`Walked`]: what the walks of some roots leave for those of others, in one process.
//!
//! - V1. A shared object is walked for each purpose once, before anyone can use it: by then no root that reaches it was found.
//! - V2. If the heap is verified, a root gets what was allocated when the heap was opened, and what no root before it got. So two roots own nothing together; and what
//!   was freed since, or allocated since, belongs to nobody who comes later.
//! - V3. As many owners of a shared object can be reached as it counts, at most. Its count is read by the walk that reaches it first, before anyone can change it.

use super::PArc;
use super::walk::{Held, Purpose, Reached};
use crate::alloc::Allocator;
use crate::base::{Error, ErrorKind, Result};
use std::collections::{HashMap, HashSet};

/// What is known from the walks of roots that were found.
#[derive(Default)]
pub struct Walked {
    /// What was allocated when the heap was opened, and was not reached yet; None if the heap is not verified.
    unclaimed: Option<HashSet<u64>>,
    shared: HashMap<(Purpose, u64), Seen>,
}

/// A shared object that was walked.
struct Seen {
    type_name: &'static str,
    /// Owners that were not reached.
    others: u64,
}

impl Walked {
    /// Before the first walk. Takes some 24 bytes of memory an object.
    pub fn verified(allocator: &Allocator) -> Self {
        let mut unclaimed = HashSet::new();
        allocator.each_taken(|addr, _| _ = unclaimed.insert(addr));
        Self { unclaimed: Some(unclaimed), ..Self::default() }
    }

    /// Whether roots are verified.
    pub fn verifies(&self) -> bool {
        self.unclaimed.is_some()
    }

    /// Whether the object at `addr` is left for another root.
    pub(super) fn is_unclaimed(&self, purpose: Purpose, addr: u64) -> bool {
        let unclaimed = self.unclaimed.as_ref().filter(|_| purpose == Purpose::Trace);
        unclaimed.is_none_or(|unclaimed| unclaimed.contains(&addr))
    }

    /// As what the shared object at `addr` was walked, if it was.
    pub(super) fn shared(&self, purpose: Purpose, addr: u64) -> Option<&'static str> {
        self.shared.get(&(purpose, addr)).map(|seen| seen.type_name)
    }

    /// Takes note of what a walk has reached.
    ///
    /// # Errors
    /// `Corrupt` if a shared object has more owners than it counts. Nothing was noted then.
    ///
    /// # Safety
    /// What was reached is there, and nobody uses those of the shared objects that are new.
    pub(super) unsafe fn add(&mut self, purpose: Purpose, reached: HashMap<u64, Reached>) -> Result<()> {
        let mut shared = Vec::new();
        for (addr, Reached { held, type_name }) in &reached {
            let Held::Shared(owners) = *held else { continue };
            let known = self.shared.get(&(purpose, *addr)).map(|seen| seen.others);
            // SAFETY: a shared object, which nobody uses if it is new.
            let counted = known.unwrap_or_else(|| unsafe { PArc::<()>::count_at(*addr) });
            let Some(others) = counted.checked_sub(owners) else {
                let what =
                    format!("{addr:#x}: {type_name} has {owners} owners, more than the {counted} that it counts");
                return Err(Error::new(ErrorKind::Corrupt, what));
            };
            shared.push(((purpose, *addr), Seen { type_name, others }));
        }
        self.shared.extend(shared);
        if let Some(unclaimed) = self.unclaimed.as_mut().filter(|_| purpose == Purpose::Trace) {
            reached.keys().for_each(|addr| _ = unclaimed.remove(addr));
        }
        Ok(())
    }
}
