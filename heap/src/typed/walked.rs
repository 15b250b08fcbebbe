//! [`Walked`]: what the walks of some roots leave for those of others, in one process.
//!
//! - V1. A shared object is looked at for each purpose once, before anyone can use it: by then no root that reaches it was found. (A walk that makes fields anew passes by
//!   others, and reads nothing of them.)
//! - V2. If the heap is verified, a root gets what was allocated when the heap was opened, and what no root before it got. So two roots own nothing together; and what
//!   is allocated since, in place of what a root got, belongs to nobody who comes later. (In place of what was got by hand, and freed by hand, it could.)
//! - V3. As many owners of a shared object can be reached as it counts, at most. Its count is read by the walk that reaches it first, before anyone can change it, and compared before
//!   anyone looks at the object otherwise.
//! - V4. What a walk has found counts when its root is prepared, so that a root whose preparation has failed can be prepared again.

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
pub(super) struct Seen {
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

    /// What the shared objects that a walk to verify has `reached` are from now on.
    ///
    /// # Errors
    /// `Corrupt` if one has more owners than it counts.
    ///
    /// # Safety
    /// They are there, and nobody uses those that are new.
    pub(super) unsafe fn count(&self, reached: &HashMap<u64, Reached>) -> Result<Vec<(u64, Seen)>> {
        let mut counted = Vec::new();
        for (addr, Reached { held, type_name }) in reached {
            let Held::Shared(owners) = *held else { continue };
            let known = self.shared.get(&(Purpose::Trace, *addr)).map(|seen| seen.others);
            // SAFETY: a shared object, which nobody uses if it is new.
            let most = known.unwrap_or_else(|| unsafe { PArc::<()>::count_at(*addr) });
            let Some(others) = most.checked_sub(owners) else {
                let what = format!("{addr:#x}: {type_name} has {owners} owners, more than the {most} that it counts");
                return Err(Error::new(ErrorKind::Corrupt, what));
            };
            counted.push((*addr, Seen { type_name, others }));
        }
        Ok(counted)
    }

    /// Takes note of a walk (V4).
    pub(super) fn add(&mut self, Findings { purpose, reached, counted }: Findings) {
        match purpose {
            Purpose::Trace => self.shared.extend(counted.into_iter().map(|(addr, seen)| ((purpose, addr), seen))),
            Purpose::Rebuild => self.shared.extend(reached.iter().filter_map(|(addr, Reached { held, type_name })| {
                (*held != Held::Owned).then_some(((purpose, *addr), Seen { type_name, others: 0 }))
            })),
        }
        if let Some(unclaimed) = self.unclaimed.as_mut().filter(|_| purpose == Purpose::Trace) {
            reached.keys().for_each(|addr| _ = unclaimed.remove(addr));
        }
    }
}

/// What a walk has found.
pub(super) struct Findings {
    pub purpose: Purpose,
    pub reached: HashMap<u64, Reached>,
    /// Of a walk to verify: the shared objects.
    pub counted: Vec<(u64, Seen)>,
}
