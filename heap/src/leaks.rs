//! [`Heap::leaks`] and [`Heap::collect`]: what is allocated and cannot be reached from any root.
//!
//! - Z1. While the world is stopped, no value that owns an object lies outside the heap: each has the lifetime of a section (Y1), and nobody is inside one. So what no root
//!   reaches is reachable from nowhere, but for memory got by hand.
//! - Z2. Fields that are made anew at opening are not walked, and own nothing in a heap (`Walker::rebuild`).

use crate::base::sync::{Mutex, lock};
use crate::base::{Error, ErrorKind, Result};
use crate::checkpoint::Stopped;
use crate::engine::Engine;
use crate::heap::Heap;
use crate::sys;
use crate::typed::{Held, PArc, Purpose, Reached, Walker};
use std::any::type_name;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// What a type is called that is not known.
const UNKNOWN: &str = "unknown";

/// What no root reaches. Empty, if all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakReport {
    /// The objects, by address.
    pub objects: Vec<Leak>,
    /// The same, summed up; those with most bytes first.
    pub sums: Vec<LeakSum>,
    /// Objects that can be reached, and whose count is not the number of [`PArc`](crate::PArc)s that own them: because one that is lost, or was leaked, is still counted.
    pub miscounted: Vec<Miscount>,
    /// How many objects can be reached.
    pub reached: u64,
}

/// An object that no root reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// Where it is.
    pub address: u64,
    /// How many bytes of the heap it takes.
    pub bytes: usize,
    /// The type that was allocated there: `[T]` for an array. `"unknown"` if it was allocated by hand, or before the heap was opened, or without
    /// [`HeapOptions::trace_types`](crate::HeapOptions::trace_types).
    pub type_name: &'static str,
}

/// Leaks of one type and size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakSum {
    /// The type.
    pub type_name: &'static str,
    /// How many bytes each takes.
    pub bytes: usize,
    /// How many there are.
    pub objects: u64,
}

/// A shared object whose count is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Miscount {
    /// Where it is.
    pub address: u64,
    /// Its type.
    pub type_name: &'static str,
    /// The number of owners that it counts.
    pub counted: u64,
    /// The number of owners that can be reached.
    pub owners: u64,
}

impl LeakReport {
    /// How many bytes the leaked objects take.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|leak| leak.bytes as u64).sum()
    }

    fn of(mut objects: Vec<Leak>, mut miscounted: Vec<Miscount>, reached: u64) -> Self {
        objects.sort_unstable_by_key(|leak| leak.address);
        miscounted.sort_unstable_by_key(|miscount| miscount.address);
        let mut counts: BTreeMap<(&'static str, usize), u64> = BTreeMap::new();
        for leak in &objects {
            *counts.entry((leak.type_name, leak.bytes)).or_default() += 1;
        }
        let mut sums: Vec<LeakSum> =
            counts.into_iter().map(|((type_name, bytes), objects)| LeakSum { type_name, bytes, objects }).collect();
        sums.sort_by_key(|sum| std::cmp::Reverse(sum.bytes as u64 * sum.objects));
        Self { objects, sums, miscounted, reached }
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects leaked, {} bytes; {} reached", self.objects.len(), self.bytes(), self.reached)?;
        for sum in &self.sums {
            write!(f, "\n{:>12} of {:>8} bytes: {}", sum.objects, sum.bytes, sum.type_name)?;
        }
        for Miscount { address, type_name, counted, owners } in &self.miscounted {
            write!(f, "\n{address:#x}: {type_name} counts {counted} owners and has {owners}")?;
        }
        Ok(())
    }
}

impl Heap {
    /// Finds all objects that cannot be reached from any root. A leak is what was given up by [`PBox::leak`](crate::PBox::leak) or `mem::forget`, what
    /// [`PArc`](crate::PArc)s own in a circle, and memory got by hand ([`Section::alloc`](crate::Section::alloc)) that no type names.
    ///
    /// Stops the world, for a time proportional to the heap, and takes some 50 bytes of memory an object.
    ///
    /// # Errors
    /// `RootType` if there is a root that was not found in this process yet, so that its type is unknown; the message names it: find it by [`Heap::root`] or
    /// [`Heap::find_root`] first. `Corrupt`, as with [`HeapOptions::verify`](crate::HeapOptions::verify). `InSection` inside a section; `Forked`.
    pub fn leaks(&self) -> Result<LeakReport> {
        self.engine().stopped("leaks", |stopped| self.find_leaks(stopped))
    }

    /// Frees all objects that cannot be reached from any root, and corrects the counts of shared objects; the next checkpoint makes it durable. Returns what was freed. Values
    /// are not dropped: what they own is freed on its own, or had another owner.
    ///
    /// Memory got by hand ([`Section::alloc`](crate::Section::alloc)), in this process or an earlier one, is freed too, unless a type that implements
    /// [`Persist`](crate::Persist) by hand names it in its `walk` and can be reached. The heap cannot know better: such memory has no type, and addresses of it may be anywhere, also
    /// in numbers. Whoever uses it through a pointer vouches that it was not collected.
    ///
    /// Stops the world as [`Heap::leaks`] does.
    ///
    /// # Errors
    /// As for [`Heap::leaks`]. Nothing was freed then.
    ///
    pub fn collect(&self) -> Result<LeakReport> {
        self.engine().stopped("collect", |stopped| {
            let report = self.find_leaks(stopped)?;
            let allocator = &self.engine().allocator;
            let mut cache = crate::alloc::Cache::new();
            for leak in &report.objects {
                allocator.free(&mut cache, leak.address);
            }
            allocator.give_back_all(&mut cache);
            for miscount in &report.miscounted {
                // SAFETY: a shared object begins with its count, in its own lane, where writing is noticed; the world is stopped, so nobody else is there.
                unsafe { sys::ptr(miscount.address).cast::<u64>().write(miscount.owners) };
            }
            Ok(report)
        })
    }

    fn find_leaks(&self, stopped: &mut Stopped<'_>) -> Result<LeakReport> {
        let engine = self.engine();
        let mut cached = HashSet::new();
        stopped.visit_caches(|cache| cached.extend(cache.slots()));
        let mut walker = Walker::new(engine, Purpose::Trace).with_cached(cached.clone());
        for (name, addr, walk) in lock(&engine.roots).each() {
            let walk = walk.ok_or_else(|| {
                let what = format!(
                    "{}: root `{name}` was not found by this process yet, so its type is unknown, and with it what it reaches",
                    self.path().display()
                );
                Error::new(ErrorKind::RootType, what)
            })?;
            // SAFETY: the world is stopped.
            unsafe { walk(&mut walker, addr) }
                .map_err(|e| e.context(format_args!("{}: root `{name}`", self.path().display())))?;
        }
        let reached = walker.into_reached();
        let mut objects = Vec::new();
        engine.allocator.each_taken(|address, bytes| {
            if !reached.contains_key(&address) && !cached.contains(&address) {
                objects.push(Leak { address, bytes, type_name: engine.type_at(address) });
            }
        });
        let miscounted = reached.iter().filter_map(|(addr, reached)| miscount(*addr, reached)).collect();
        Ok(LeakReport::of(objects, miscounted, reached.len() as u64))
    }
}

/// Whether the count of what was reached is wrong.
fn miscount(address: u64, reached: &Reached) -> Option<Miscount> {
    let Held::Shared(owners) = reached.held else { return None };
    // SAFETY: a shared object, which was found to be there; the world is stopped.
    let counted = unsafe { PArc::<()>::count_at(address) };
    (counted != owners).then_some(Miscount { address, type_name: reached.type_name, counted, owners })
}

/// What typed values allocated since the heap was opened: the types by address. Those of what was freed stay until the address is used again.
#[derive(Default)]
pub struct TypeNames {
    names: Mutex<HashMap<u64, &'static str>>,
}

impl Engine {
    /// The object at `addr` holds a `T`.
    #[cold]
    pub fn note_type<T: ?Sized>(&self, addr: u64) {
        if let Some(types) = &self.types {
            lock(&types.names).insert(addr, type_name::<T>());
        }
    }

    /// The object at `addr` is new, and nobody has said yet what it is to hold.
    #[inline]
    pub fn forget_type(&self, addr: u64) {
        if let Some(types) = &self.types {
            lock(&types.names).remove(&addr);
        }
    }

    fn type_at(&self, addr: u64) -> &'static str {
        let known = self.types.as_ref().and_then(|types| lock(&types.names).get(&addr).copied());
        known.unwrap_or(UNKNOWN)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
