//! [`Walker`]: goes from a root to everything that can be reached from it, without recursion from object to object.
//!
//! - K1. An object is owned once, or shared by any number of `PArc`; it is walked once.
//! - K2. What an address leads to is checked before it is read: an allocated object of this heap that is large enough, aligned, starts there, and lies in a slot or in a page run
//!   as its size says, because that is how it will be found again.
//! - K3. A walk ends, whatever the bytes are: each object is walked once, values without a size are one, and objects wait in a queue, not on the stack.
//! - K4. A walk that makes fields anew goes where such fields are, and nowhere else: others may be using what has none.

use super::access::in_slot;
use super::walked::{Findings, Seen, Walked};
use super::{Persist, Schema};
use crate::arena::dense_address;
use crate::base::{Error, ErrorKind, Result};
use crate::engine::Engine;
use crate::sys;
use std::alloc::Layout;
use std::any::TypeId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// To find what can be reached, and to check it on the way.
    Trace,
    /// To make anew the fields that are no part of checkpoints.
    Rebuild,
}

/// How an object was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// By its only owner.
    Owned,
    /// By this many that share it.
    Shared(u64),
}

/// An object that was reached.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// How.
    pub held: Held,
    /// The type of its values.
    pub type_name: &'static str,
}

/// Values in one object, to be walked.
struct Values {
    /// The object, and where in it `walk` is to begin.
    addr: u64,
    offset: usize,
    count: usize,
    type_name: &'static str,
    /// Whether looking at them may change them.
    interior: bool,
    walk: WalkAll,
}

/// Walks a number of values from a pointer on.
type WalkAll = unsafe fn(*mut u8, usize, &mut Walker<'_>) -> Result<()>;

/// What is to be looked at when everything else was found good.
struct Later {
    object: u64,
    this: *mut u8,
    type_name: &'static str,
    look: unsafe fn(*mut u8, &mut Walker<'_>) -> Result<()>,
}

/// Goes through a heap from value to value. [`Persist::walk`] tells it what a value owns.
pub struct Walker<'w> {
    purpose: Purpose,
    engine: &'w Engine,
    /// What is known from the walks of other roots.
    walked: Option<&'w Walked>,
    /// Whether types have fields that are made anew, or own such.
    rebuilds: HashMap<TypeId, bool>,
    /// Slots that are taken from their zones, and not allocated.
    cached: HashSet<u64>,
    reached: HashMap<u64, Reached>,
    queue: Vec<Values>,
    later: Vec<Later>,
    counted: Vec<(u64, Seen)>,
    object: u64,
    field: &'static str,
}

impl<'w> Walker<'w> {
    /// A walk through the heap of `engine`.
    pub(crate) fn new(engine: &'w Engine, purpose: Purpose) -> Self {
        Self {
            purpose,
            engine,
            walked: None,
            rebuilds: HashMap::new(),
            cached: HashSet::new(),
            reached: HashMap::new(),
            queue: Vec::new(),
            later: Vec::new(),
            counted: Vec::new(),
            object: 0,
            field: "",
        }
    }

    /// Leaves out shared objects that earlier walks have reached, because others may be using them, and refuses what these say cannot be.
    pub(crate) fn after(self, walked: &'w Walked) -> Self {
        Self { walked: Some(walked), ..self }
    }

    /// What was found, of a walk that ended well.
    pub(super) fn into_findings(self) -> Findings {
        Findings { purpose: self.purpose, reached: self.reached, counted: self.counted }
    }

    /// Refuses what leads to these slots: they lie in caches of threads.
    pub(crate) fn with_cached(self, cached: HashSet<u64>) -> Self {
        Self { cached, ..self }
    }

    /// Walks everything that can be reached from the object at `addr`, which holds a `T`, and was not reached before.
    ///
    /// # Errors
    /// `Corrupt`, for an address that leads to no such object, or bytes that are not valid.
    ///
    /// # Safety
    /// Nobody writes what is reached, meanwhile. If the purpose is to rebuild, nobody uses it, and this thread is inside a section.
    pub(crate) unsafe fn root<T: Persist>(&mut self, addr: u64) -> Result<()> {
        self.owns::<T>(addr, 1, size_of::<T>())?;
        while let Some(values) = self.queue.pop() {
            self.object = values.addr;
            self.field = "";
            // Only the start of an object tells whether it lies in a slot.
            let start = self.pointer(values.addr, values.interior).wrapping_add(values.offset);
            // SAFETY: the values lie in an allocated object (K2), which nobody else uses, by the contract of this function.
            unsafe { (values.walk)(start, values.count, self) }.map_err(|e| within(e, values.type_name))?;
        }
        if let Some(walked) = self.walked.filter(|_| self.purpose == Purpose::Trace) {
            // SAFETY: they were found good; nobody uses them, by the contract of this function.
            self.counted = unsafe { walked.count(&self.reached)? };
        }
        while let Some(later) = self.later.pop() {
            self.object = later.object;
            self.field = "";
            // SAFETY: the value was walked, and so was what it owns; nobody else uses it, by the contract of this function.
            unsafe { (later.look)(later.this, self) }.map_err(|e| within(e, later.type_name))?;
        }
        // The next root is reached from no object.
        (self.object, self.field) = (0, "");
        Ok(())
    }

    /// Calls `look` with the value at `this`, which is being walked, when all that can be reached was found good: then it can be used like any other. Only where things
    /// are looked at.
    ///
    /// # Safety
    /// Shared access to the value at `this` is all that `look` needs, once it is good.
    pub(crate) unsafe fn when_all_is_good<T>(
        &mut self,
        this: *mut T,
        look: unsafe fn(*mut u8, &mut Walker<'_>) -> Result<()>,
    ) {
        if self.purpose == Purpose::Trace {
            let type_name = std::any::type_name::<T>();
            self.later.push(Later { object: self.object, this: this.cast(), type_name, look });
        }
    }

    /// What was reached, by address.
    pub(crate) fn into_reached(self) -> HashMap<u64, Reached> {
        self.reached
    }

    /// The value that is looked at owns the object at `addr`, alone: it has room for `bytes`, and starts with `count` values of `T`.
    ///
    /// # Errors
    /// `Corrupt` if there is no such object, or if it is owned already.
    pub fn owns<T: Persist>(&mut self, addr: u64, count: usize, bytes: usize) -> Result<()> {
        self.check::<T>(addr, count, bytes)?;
        self.claim(addr, std::any::type_name::<T>())?;
        self.enqueue::<T>(addr, count);
        Ok(())
    }

    /// The object at `addr` has one owner, who is looked at.
    fn claim(&mut self, addr: u64, type_name: &'static str) -> Result<()> {
        self.claimable(addr)?;
        match self.reached.entry(addr) {
            Entry::Occupied(other) => {
                let other = other.get().type_name;
                Err(self.wrong(format_args!("{addr:#x} is owned twice, as {other} and as {type_name}")))
            }
            Entry::Vacant(place) => {
                place.insert(Reached { held: Held::Owned, type_name });
                Ok(())
            }
        }
    }

    /// Whether what earlier walks have found leaves the object at `addr` to this one.
    fn claimable(&self, addr: u64) -> Result<()> {
        match self.walked.is_none_or(|walked| walked.is_unclaimed(self.purpose, addr)) {
            true => Ok(()),
            false => {
                let what = format_args!("{addr:#x} was free when the heap was opened, or another root owns it");
                Err(self.wrong(what))
            }
        }
    }

    /// The value that is looked at owns the `bytes` bytes at `addr`, alone: memory from [`Section::alloc`](crate::Section::alloc), in which nothing owns anything. For types
    /// that implement [`Persist`] by hand.
    ///
    /// # Errors
    /// `Corrupt` if there is no such object, or if it is owned already.
    pub fn owns_bytes(&mut self, addr: u64, bytes: usize) -> Result<()> {
        match self.usable(addr)? {
            usable if usable >= bytes => self.claim(addr, "bytes"),
            usable => Err(self.wrong(format_args!("{addr:#x} has {usable} bytes, not {bytes}"))),
        }
    }

    /// The value that is looked at is one of those that share the object at `addr`, which starts with a `T`, and that with the number of its owners.
    ///
    /// # Errors
    /// `Corrupt` if there is no such object, or if it is owned by another alone.
    pub(crate) fn shares<T: Persist>(&mut self, addr: u64) -> Result<()> {
        self.check::<T>(addr, 1, size_of::<T>())?;
        let type_name = std::any::type_name::<T>();
        let seen = self.walked.and_then(|walked| walked.shared(self.purpose, addr));
        if seen.is_none() && !self.reached.contains_key(&addr) {
            self.claimable(addr)?;
        }
        match self.reached.entry(addr) {
            Entry::Occupied(mut other) => match other.get_mut() {
                Reached { held: Held::Shared(count), type_name: other } if *other == type_name => {
                    *count += 1;
                    Ok(())
                }
                Reached { type_name: other, .. } => {
                    let other = *other;
                    Err(self.wrong(format_args!("{addr:#x} is held as {other} and as {type_name}")))
                }
            },
            Entry::Vacant(place) => {
                if let Some(other) = seen.filter(|seen| *seen != type_name) {
                    return Err(self.wrong(format_args!("{addr:#x} is held as {other} and as {type_name}")));
                }
                place.insert(Reached { held: Held::Shared(1), type_name });
                if seen.is_none() {
                    self.enqueue::<T>(addr, 1);
                }
                Ok(())
            }
        }
    }

    /// The value that is looked at owns nothing yet, and says that it belongs to the heap that `tag` stands for (Y2).
    ///
    /// # Errors
    /// `Corrupt` if that is another one.
    pub(crate) fn belongs<T>(&self, tag: u64) -> Result<()> {
        match tag == self.engine.tag() || tag == 0 {
            true => Ok(()),
            false => Err(self.invalid::<T>(format_args!("what is empty and belongs to heap {tag:#x}"))),
        }
    }

    /// For messages: the field that is looked at next.
    pub fn field(&mut self, name: &'static str) {
        self.field = name;
    }

    /// Writes `make()` to a field that is no part of checkpoints, if that is what the walk is for. The old value is not dropped: it is another process's.
    /// The field has no lifetime, so it owns nothing in a heap: what is owned by fields that are not walked would count as unreachable.
    ///
    /// # Safety
    /// `field` is a field of the value that is looked at, or of one within.
    pub unsafe fn rebuild<F: 'static>(&mut self, field: *mut F, make: fn() -> F) {
        if self.purpose == Purpose::Rebuild {
            // SAFETY: a walk to rebuild leads through lanes where writes are caught, and nobody uses the value meanwhile (`root`).
            unsafe { field.write(make()) };
        }
    }

    /// The bytes at hand are none that a `T` has.
    pub fn invalid<T>(&self, what: impl fmt::Display) -> Error {
        self.wrong(format_args!("{what} is no {}", std::any::type_name::<T>()))
    }

    fn wrong(&self, what: fmt::Arguments<'_>) -> Error {
        let field = if self.field.is_empty() { String::new() } else { format!(", field `{}`", self.field) };
        let what = match self.object {
            0 => what.to_string(),
            object => format!("object at {object:#x}{field}: {what}"),
        };
        Error::new(ErrorKind::Corrupt, what)
    }

    /// K2.
    fn check<T>(&self, addr: u64, count: usize, bytes: usize) -> Result<()> {
        let (name, align) = (std::any::type_name::<T>(), align_of::<T>() as u64);
        if !addr.is_multiple_of(align) {
            return Err(self.wrong(format_args!("{addr:#x} is not aligned for {name}")));
        }
        let fits = count.checked_mul(size_of::<T>()).is_some_and(|used| used <= bytes);
        let usable = self.usable(addr)?;
        if usable < bytes || !fits {
            let what = format_args!("{addr:#x} has {usable} bytes, too few for {count} of {name} in {bytes}");
            return Err(self.wrong(what));
        }
        let expects_slot = Layout::from_size_align(bytes, align_of::<T>()).is_ok_and(in_slot);
        if expects_slot != self.engine.allocator.is_slot(addr) {
            let where_ = if expects_slot { "a page run" } else { "a slot" };
            return Err(self.wrong(format_args!("{addr:#x} is {where_}, where {bytes} bytes of {name} are not")));
        }
        Ok(())
    }

    /// How many bytes the object at `addr` may use.
    fn usable(&self, addr: u64) -> Result<usize> {
        let usable = self.engine.allocator.live_bytes(addr).filter(|_| !self.cached.contains(&addr));
        usable.ok_or_else(|| self.wrong(format_args!("{addr:#x} is no object of this heap")))
    }

    /// Whether there is anything to do in values of `T`.
    fn is_of_interest<T: Persist>(&mut self) -> bool {
        let mut rebuilds = || *self.rebuilds.entry(typeid::of::<T>()).or_insert_with(|| Schema::of::<T>().rebuilds);
        !T::ANY_BYTES && (self.purpose == Purpose::Trace || rebuilds())
    }

    fn enqueue<T: Persist>(&mut self, addr: u64, count: usize) {
        unsafe fn walk<T: Persist>(first: *mut u8, count: usize, walker: &mut Walker<'_>) -> Result<()> {
            for at in 0..count {
                walker.field = "";
                // SAFETY: the caller's contract is that of `T::walk`, for each of the values.
                unsafe { T::walk(first.cast::<T>().add(at), walker)? };
            }
            Ok(())
        }
        if count == 0 || !self.is_of_interest::<T>() {
            return;
        }
        let (type_name, interior) = (std::any::type_name::<T>(), T::INTERIOR);
        let count = if size_of::<T>() == 0 { 1 } else { count };
        self.queue.push(Values { addr, offset: 0, count, type_name, interior, walk: walk::<T> });
    }

    /// Like [`Walker::owns`], for an object that is no array: `walk` is called with a pointer to its byte `offset`, and `count`.
    ///
    /// # Errors
    /// `Corrupt` if there is no object of `bytes` bytes, aligned to `align`, or if it is owned already.
    pub(crate) fn owns_other<T: Persist>(
        &mut self,
        addr: u64,
        (bytes, align): (usize, usize),
        (offset, count): (usize, usize),
        walk: WalkAll,
    ) -> Result<*const u8> {
        let type_name = std::any::type_name::<T>();
        self.check::<u8>(addr, 0, bytes)?;
        self.claim(addr, type_name)?;
        if !addr.is_multiple_of(align as u64) {
            return Err(self.wrong(format_args!("{addr:#x} is not aligned to {align}")));
        }
        if self.is_of_interest::<T>() {
            self.queue.push(Values { addr, offset, count, type_name, interior: T::INTERIOR, walk });
        }
        Ok(self.pointer(addr, false))
    }

    /// The heap address that `object` points to, if it points into the heap at all.
    pub(crate) fn address_of(&self, object: *mut u8) -> u64 {
        self.engine.allocator.address_of(object)
    }

    /// Through the dense lane, unless it writes.
    fn pointer(&self, addr: u64, writes: bool) -> *mut u8 {
        let is_only_read = self.purpose != Purpose::Rebuild && !writes;
        sys::ptr(if is_only_read && self.engine.allocator.is_slot(addr) { dense_address(addr) } else { addr })
    }
}

/// Says of bytes that are not good what they were taken for.
fn within(e: Error, type_name: &'static str) -> Error {
    if e.kind() == ErrorKind::Corrupt { e.context(type_name) } else { e }
}
