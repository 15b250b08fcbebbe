//! [`Root`]: a named object from which a program finds everything else.

use super::access::{read_ptr, write_ptr};
use super::walk::{Purpose, Walker};
use super::walked::Findings;
use super::{PBox, Persist, Predecessor, Schema};
use crate::base::sync::{MutexGuard, lock};
use crate::base::{Error, ErrorKind, Result};
use crate::checkpoint::{Lookup, RootType, WalkRoot};
use crate::heap::Heap;
use crate::section::Section;
use std::alloc::Layout;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A named object of a heap. Its type is checked when it is found; who borrows it, when it is read or written.
pub struct Root<'h, T> {
    heap: &'h Heap,
    name: String,
    /// Of its type.
    identity: u64,
    _is: PhantomData<fn() -> T>,
}

/// Shared access to a root, for the rest of a section.
pub struct RootRef<'r, T: Persist> {
    _release: Release<'r>,
    value: &'r T::In<'r>,
}

/// Unique access to a root, for the rest of a section.
pub struct RootMut<'r, T: Persist> {
    _release: Release<'r>,
    value: &'r mut T::In<'r>,
}

thread_local!(static IS_PREPARING: Cell<bool> = const { Cell::new(false) });

/// While this lives, no other thread finds a root of the heap; and this one is refused, where it would wait for itself.
struct OneAtATime<'h> {
    _lock: MutexGuard<'h, ()>,
}

impl Drop for OneAtATime<'_> {
    fn drop(&mut self) {
        IS_PREPARING.set(false);
    }
}

/// Ends a borrow.
struct Release<'r> {
    heap: &'r Heap,
    name: &'r str,
    alone: bool,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        lock(&self.heap.engine().roots).release(self.name, self.alone);
    }
}

impl Heap {
    /// Finds the root `name`, or creates it with what `init` returns. Name the type with any lifetime, or none: `heap.root::<Desk>("desk", |section| ...)`.
    ///
    /// A root of an older type is migrated: see [`Migrate`](crate::Migrate). Fields that are no part of checkpoints are made anew when a root is found for the first time
    /// since the heap was opened; and all that can be reached from it is checked then, if [`HeapOptions::verify`](crate::HeapOptions::verify) asks for it.
    ///
    /// # Errors
    /// `RootType` if the root holds another type; the message has the fingerprints of both, and the first field that differs. What `init` returns, and `Migrate::migrate`; `Corrupt`; `HeapFull`,
    /// `OutOfMemory`, `Forked`; `InSection` inside a section of another heap.
    pub fn root<T: Persist>(
        &self,
        name: &str,
        init: impl for<'s> FnOnce(&'s Section<'_>) -> Result<T::In<'s>>,
    ) -> Result<Root<'_, T>> {
        if let Some(root) = self.find_root(name)? {
            return Ok(root);
        }
        let section = self.try_enter()?;
        let value = PBox::try_new_in(init(&section)?, &section)?;
        let mut roots = lock(&self.engine().roots);
        if roots.insert(name, RootType::of::<T>(), PBox::address(&value)) {
            // What this process made needs no preparing; and its memory may have been that of objects that were reached when another root was prepared.
            roots.prepared(name, RootType::of::<T>(), walk_root::<T>);
            PBox::into_address(value);
        } // Else another thread, or `init` itself, was faster, and this one is dropped.
        drop(roots);
        self.find_root(name)?.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("root `{name}` came and went")))
    }

    /// Finds the root `name`, if there is one.
    ///
    /// # Errors
    /// As for [`Heap::root`]. `RootBorrowed` if it has to be migrated, and someone has it as what it was.
    pub fn find_root<T: Persist>(&self, name: &str) -> Result<Option<Root<'_, T>>> {
        let section = self.try_enter()?;
        let kind = RootType::of::<T>();
        let identity = kind.identity();
        let _one_at_a_time = self.one_at_a_time()?;
        let found = lock(&self.engine().roots).find(name, &kind);
        match found {
            Lookup::Nothing => return Ok(None),
            Lookup::Ready => {}
            Lookup::Unprepared(addr) => self.prepare::<T>(name, addr, &section)?,
            Lookup::Other(addr, stored) => match way_from::<T>(&stored) {
                Some(steps) => self.migrate::<T>(name, (addr, !stored.was_found()), &steps, &section)?,
                None => return Err(kind.mismatch(name, addr, &stored)),
            },
        }
        Ok(Some(Root { heap: self, name: name.to_owned(), identity, _is: PhantomData }))
    }

    /// Takes the root `name` out of the table. What it held belongs to the caller, who puts it elsewhere or drops it before the section ends.
    ///
    /// # Errors
    /// `RootBorrowed` if someone has it; else as for [`Heap::root`].
    pub fn remove_root<'s, T: Persist>(
        &self,
        name: &str,
        section: &'s Section<'_>,
    ) -> Result<Option<PBox<'s, T::In<'s>>>> {
        let Some(root) = self.find_root::<T>(name)? else { return Ok(None) };
        root.check_section(section)?;
        let addr = lock(&self.engine().roots).remove(name, root.identity)?;
        // SAFETY: a root's address holds an initialised T, which the table owned and nobody borrows; 's is a section of this heap.
        Ok(addr.map(|addr| unsafe { PBox::from_address(addr) }))
    }

    /// Swaps what the two roots of each pair hold, of all pairs at once: no checkpoint has some of them.
    ///
    /// # Errors
    /// `NotFound`, `RootBorrowed`, `RootType` if the two have different types: nothing was swapped. `InvalidArgument` if a name occurs twice.
    pub fn swap_roots(&self, pairs: &[(&str, &str)]) -> Result<()> {
        let _section = self.try_enter()?;
        // What is being prepared stays where it is.
        let _one_at_a_time = self.one_at_a_time()?;
        lock(&self.engine().roots).swap(pairs)
    }

    /// # Errors
    /// `InvalidArgument` in functions that are called while a root is found.
    fn one_at_a_time(&self) -> Result<OneAtATime<'_>> {
        if IS_PREPARING.get() {
            let what = "roots cannot be looked for by what is called while one is found: `Migrate::migrate`, functions for fields that are made anew, `Hash`, `BuildHasher`";
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{}: {what}", self.path().display())));
        }
        let _lock = lock(&self.engine().preparing);
        IS_PREPARING.set(true);
        Ok(OneAtATime { _lock })
    }

    /// What is done once in each process before a root is used.
    fn prepare<T: Persist>(&self, name: &str, addr: u64, section: &Section<'_>) -> Result<()> {
        // SAFETY: nobody has found the root yet in this process; the caller is inside a section.
        let found = unsafe { self.look_at(name, (addr, walk_root::<T>), Schema::of::<T>().rebuilds, section)? };
        self.prepared(found);
        lock(&self.engine().roots).prepared(name, RootType::of::<T>(), walk_root::<T>);
        Ok(())
    }

    fn prepared(&self, found: Vec<Findings>) {
        let mut walked = lock(&self.engine().walked);
        found.into_iter().for_each(|found| walked.add(found));
    }

    /// Verifies the root `name` at `addr`, if that is asked for, and makes anew what is to be.
    ///
    /// # Safety
    /// Nobody uses what the root alone owns, and this thread is inside a section.
    unsafe fn look_at(
        &self,
        name: &str,
        (addr, walk): (u64, WalkRoot),
        rebuilds: bool,
        section: &Section<'_>,
    ) -> Result<Vec<Findings>> {
        let engine = self.engine();
        let walked = lock(&engine.walked);
        let verifies = walked.verifies().then_some(Purpose::Trace);
        let walk = |purpose: Purpose| {
            let mut walker = Walker::new(engine, purpose).with_cached(section.cached()).after(&walked);
            // SAFETY: the contract of this function; what the root shares with others that were found is not walked again.
            let result = unsafe { walk(&mut walker, addr) };
            result.map_err(|e| e.context(format_args!("{}: root `{name}`", self.path().display())))?;
            Ok(walker.into_findings())
        };
        verifies.into_iter().chain(rebuilds.then_some(Purpose::Rebuild)).map(walk).collect()
    }

    /// Brings the root `name` at `addr`, of which nothing was used in this process if it `is_fresh`, from an older type to `T`, by `steps`.
    fn migrate<T: Persist>(
        &self,
        name: &str,
        (addr, is_fresh): (u64, bool),
        steps: &[Predecessor],
        section: &Section<'_>,
    ) -> Result<()> {
        let engine = self.engine();
        // Nobody else gets it until it is replaced.
        lock(&engine.roots).hold(name)?;
        let held = Release { heap: self, name, alone: true };
        let oldest = &steps[0];
        if is_fresh {
            let rebuilds = (oldest.described)().rebuilds;
            // SAFETY: nobody has the root, which is of another type than this program's others; the caller is inside a section.
            let found = unsafe { self.look_at(name, (addr, oldest.walk), rebuilds, section)? };
            self.prepared(found);
        }
        std::mem::forget(held);
        let half = HalfDone { heap: self, name };
        let mut at = addr;
        for step in steps {
            // SAFETY: the object that the root had, or the last step made, and of that type; nobody else has it, or gets it if this fails (`HalfDone`).
            at = unsafe { (step.carry)(at, section) }
                .map_err(|e| e.context(format_args!("{}: root `{name}`: migration", self.path().display())))?;
        }
        lock(&engine.roots).replace(name, RootType::of::<T>(), at, walk_root::<T>);
        std::mem::forget(half);
        Ok(())
    }
}

/// How a root that holds a `T` is walked.
///
/// # Errors
/// As for [`Walker::root`].
///
/// # Safety
/// That of [`Walker::root`].
unsafe fn walk_root<T: Persist>(walker: &mut Walker<'_>, addr: u64) -> Result<()> {
    // SAFETY: the contract of this function.
    unsafe { walker.root::<T>(addr) }
}

/// A migration that has begun: the older value was taken apart. If it ends here, nobody finds it in memory any more, and it stays on disk.
struct HalfDone<'h> {
    heap: &'h Heap,
    name: &'h str,
}

impl Drop for HalfDone<'_> {
    fn drop(&mut self) {
        let engine = self.heap.engine();
        engine.note_half_done();
        lock(&engine.roots).forget(self.name);
    }
}

/// The steps from what is stored to `T`, oldest first.
fn way_from<T: Persist>(stored: &RootType) -> Option<Vec<Predecessor>> {
    let mut steps = Vec::new();
    let mut next = T::predecessor();
    let mut seen = Vec::new();
    while let Some(step) = next {
        let kind = (step.kind)();
        if seen.contains(&kind.identity()) {
            // Types that come from each other.
            return None;
        }
        seen.push(kind.identity());
        let found = kind.matches(stored);
        next = (step.predecessor)();
        steps.insert(0, step);
        if found {
            return Some(steps);
        }
    }
    None
}

impl<T: Persist> Root<'_, T> {
    /// Reads the root. Other threads may read it meanwhile, so it must be `Sync`.
    ///
    /// # Errors
    /// `RootBorrowed` if someone is writing it; `InvalidArgument` if `section` is of another heap; `NotFound` if it was removed, `RootType` if it is another one now.
    pub fn read<'r>(&'r self, section: &'r Section<'_>) -> Result<RootRef<'r, T>>
    where
        T::In<'r>: Sync,
    {
        let (addr, release) = self.borrow(section, false)?;
        // SAFETY: the root's address holds an initialised T (its type was checked), which is the same type but for the lifetime, for as long as it is not removed. The
        // table has just granted a shared borrow, which lasts as long as the guard.
        let value = unsafe { &*read_ptr::<T::In<'r>>(addr, Layout::new::<T::In<'r>>()) };
        Ok(RootRef { _release: release, value })
    }

    /// Gives access to change the root.
    ///
    /// # Errors
    /// `RootBorrowed` if someone is reading or writing it; else as for [`Root::read`].
    pub fn write<'r>(&'r self, section: &'r Section<'_>) -> Result<RootMut<'r, T>> {
        let (addr, release) = self.borrow(section, true)?;
        let layout = Layout::new::<T::In<'r>>();
        // SAFETY: as in `read`; the borrow that the table granted is unique.
        let value = unsafe { &mut *write_ptr::<T::In<'r>>(addr, layout.size(), layout) };
        Ok(RootMut { _release: release, value })
    }

    /// The root's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn borrow<'r>(&'r self, section: &Section<'_>, alone: bool) -> Result<(u64, Release<'r>)> {
        self.check_section(section)?;
        let addr = lock(&self.heap.engine().roots).borrow(&self.name, self.identity, alone)?;
        Ok((addr, Release { heap: self.heap, name: &self.name, alone }))
    }

    fn check_section(&self, section: &Section<'_>) -> Result<()> {
        if std::ptr::eq(section.engine(), self.heap.engine()) {
            return Ok(());
        }
        let what = format!("root `{}` is of {}, the section is not", self.name, self.heap.path().display());
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }
}

impl<'r, T: Persist> Deref for RootRef<'r, T> {
    type Target = T::In<'r>;
    #[inline]
    fn deref(&self) -> &T::In<'r> {
        self.value
    }
}

impl<'r, T: Persist> Deref for RootMut<'r, T> {
    type Target = T::In<'r>;
    #[inline]
    fn deref(&self) -> &T::In<'r> {
        self.value
    }
}

impl<'r, T: Persist> DerefMut for RootMut<'r, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T::In<'r> {
        self.value
    }
}
