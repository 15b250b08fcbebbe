//! The twin's tracker: remembers what each page held when it was armed, and reports those that hold something else.
//!
//! It stands for any [`TrackerKind`] in the twin, where no memory is protected and all lanes of a zone are one memory: a write
//! through one lane shows in all of them, which the contract allows (more may be reported, never less). It must run while
//! no mutator writes. Under Miri, bytes that a program left uninitialised may not be looked at, so every page is reported.

use super::{TrackerKind, WriteTracker};
use crate::{
    base::{Error, ErrorKind, PAGE, Result},
    sys::ptr,
};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    ops::Range,
    sync::{Mutex, MutexGuard},
};

/// See the module.
pub struct ShadowTracker {
    kind: TrackerKind,
    /// The hash of each tracked page when it was armed; none before its first harvest.
    pages: Mutex<BTreeMap<u64, Option<u64>>>,
}

impl ShadowTracker {
    /// A tracker that tracks nothing yet and says that it is of `kind`.
    pub fn new(kind: TrackerKind) -> Self {
        Self { kind, pages: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Option<u64>>> {
        self.pages.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// A hash of the page at `addr`, tracked and therefore mapped. None if the bytes may not be looked at.
fn hash(addr: u64) -> Option<u64> {
    if cfg!(miri) {
        return None;
    }
    let mut bytes = [0u8; PAGE];
    // SAFETY: the page is tracked, so by the contract of `track` it is mapped: PAGE bytes of initialised memory (not
    // under Miri, where bytes can be uninitialised), which nobody writes meanwhile in the twin.
    unsafe { ptr(addr).copy_to_nonoverlapping(bytes.as_mut_ptr(), PAGE) };
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Some(hasher.finish())
}

impl WriteTracker for ShadowTracker {
    fn kind(&self) -> TrackerKind {
        self.kind
    }

    fn sees_kernel_writes(&self) -> bool {
        true
    }

    unsafe fn track(&self, range: Range<u64>) -> Result<()> {
        self.lock().extend(range.step_by(PAGE).map(|page| (page, None)));
        Ok(())
    }

    fn untrack(&self, range: Range<u64>) {
        self.lock().retain(|page, _| !range.contains(page));
    }

    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let mut pages = self.lock();
        for addr in range.clone().step_by(PAGE) {
            let Some(armed) = pages.get_mut(&addr) else {
                let what = format!("page {addr:#x} of {:#x}..{:#x} is not tracked", range.start, range.end);
                return Err(Error::new(ErrorKind::InvalidArgument, what));
            };
            let now = hash(addr);
            if now.is_none() || *armed != now {
                *armed = now;
                sink(addr..addr + PAGE as u64);
            }
        }
        Ok(())
    }
}
