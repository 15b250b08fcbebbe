//! [`Threads`]: the threads that use a heap, and each one's cache.
//!
//! Invariants:
//! - T1. A [`Member`]'s cache is touched by its own thread inside a section, or by a cut while the gate is closed; never by both (G1).
//! - T2. A thread that ends outside a section leaves its member behind as `abandoned`; the next cut gives its cache back, or the next new thread takes it over.

use super::gate::{Closed, Gate, Turnstile};
use crate::alloc::Cache;
use crate::base::Mistake;
use crate::base::sync::{AtomicBool, Guarded, Mutex, MutexGuard, Ordering, local, lock};
use slab::Slab;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::sync::Arc;

/// One thread's part in one heap.
pub struct Member {
    turnstile: Turnstile,
    cache: UnsafeCell<Cache>,
    /// Lets models check T1.
    uses: Guarded,
    /// How many sections of this thread are nested. Used by the thread alone.
    depth: Cell<u64>,
    abandoned: AtomicBool,
}

// SAFETY: `turnstile` and `abandoned` are atomics. `depth` is used by the owning thread alone: a member is reached through the thread-local
// table of its thread, and taken over by another thread only after `abandoned` was set by the end of the first (release) and read under the lock
// of the registry (acquire). `cache` is guarded by T1.
unsafe impl Sync for Member {}
// SAFETY: as above; a cache holds plain numbers.
unsafe impl Send for Member {}

impl Member {
    fn new() -> Self {
        Self {
            turnstile: Turnstile::new(),
            cache: UnsafeCell::new(Cache::new()),
            uses: Guarded::default(),
            depth: Cell::new(0),
            abandoned: AtomicBool::new(false),
        }
    }

    /// The cache.
    ///
    /// # Safety
    /// The caller is the owning thread inside a section, or a cut while the gate is closed (T1), and no other reference to the cache is live.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the contract above makes it exclusive")]
    pub unsafe fn cache(&self) -> &mut Cache {
        self.uses.change();
        // SAFETY: exclusive by the contract of this function.
        unsafe { &mut *self.cache.get() }
    }
}

/// The threads of one heap.
pub struct Threads {
    serial: u64,
    gate: Gate,
    members: Mutex<Members>,
    /// Whether a section ended by a panic.
    panicked: AtomicBool,
}

struct Members {
    all: Slab<Arc<Member>>,
    /// How often those that are gone went in or out.
    moves_of_gone: u64,
}

impl Members {
    /// How often all threads together have gone in or out; None if one is inside.
    fn still(&self) -> Option<u64> {
        self.all.iter().try_fold(self.moves_of_gone, |sum, (_, member)| Some(sum + member.turnstile.still()?))
    }
}

/// A stopped world: the gate is closed, and the members can be visited.
pub struct Stopped<'t> {
    _closed: Closed<'t>,
    panicked: &'t AtomicBool,
    members: MutexGuard<'t, Members>,
}

impl Threads {
    /// No thread yet.
    pub fn new() -> Self {
        // Of std, in models too: a static, and only distinctness matters.
        static SERIAL: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let members = Members { all: Slab::new(), moves_of_gone: 0 };
        Self {
            serial: SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            gate: Gate::new(),
            members: Mutex::new(members),
            panicked: AtomicBool::new(false),
        }
    }

    /// Begins a section of this thread, or nests one.
    #[inline]
    pub fn enter(&self) -> &Member {
        let member = self.mine();
        if member.depth.get() == 0 {
            self.gate.enter(&member.turnstile);
        }
        member.depth.set(member.depth.get() + 1);
        member
    }

    /// Ends the section that [`Threads::enter`] began.
    #[inline]
    pub fn leave(&self, member: &Member) {
        member.depth.set(member.depth.get() - 1);
        if member.depth.get() == 0 {
            self.gate.leave(&member.turnstile);
        }
    }

    /// Notes that a section is ending by a panic, or that this is forgiven.
    pub fn set_panicked(&self, panicked: bool) {
        // Relaxed: a cut reads it with the gate closed, after the end of that section (G1).
        self.panicked.store(panicked, Ordering::Relaxed);
    }

    /// Whether this thread is inside a section of this heap.
    pub fn is_inside(&self) -> bool {
        self.mine().depth.get() > 0
    }

    /// Stops every thread at the end of its section. Blocks until they are there. One caller at a time, itself outside.
    pub fn stop(&self) -> Stopped<'_> {
        // The lock keeps new threads out until the world goes on.
        let members = lock(&self.members);
        if Mistake::ThreadJoinsStoppedWorld.is_made() {
            let known: Vec<_> = members.all.iter().map(|(_, member)| member.clone()).collect();
            drop(members);
            let closed = self.gate.close(known.iter().map(|member| &member.turnstile));
            return Stopped { _closed: closed, panicked: &self.panicked, members: lock(&self.members) };
        }
        let closed = self.gate.close(members.all.iter().map(|(_, member)| &member.turnstile));
        Stopped { _closed: closed, panicked: &self.panicked, members }
    }

    /// A number that tells whether anyone was in a section between now and the next stop: [`Stopped::nobody_moved_since`]. None if someone is in one.
    pub fn still(&self) -> Option<u64> {
        lock(&self.members).still()
    }

    /// Whether a thread is inside a section, or so it seems: a cut that waits for one for more than a second keeps this from being known.
    pub fn is_anyone_inside(&self) -> bool {
        for _ in 0..10_000 {
            if let Ok(members) = self.members.try_lock() {
                return members.still().is_none();
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        true
    }

    /// Whether the world is stopped.
    #[cfg(test)]
    pub fn is_stopped(&self) -> bool {
        self.members.try_lock().is_err()
    }

    #[inline]
    fn mine(&self) -> &Member {
        let (serial, member) = LAST.with(Cell::get);
        if serial == self.serial {
            // SAFETY: serials are never used twice, so `LAST` holds a member of this heap. The registry of `self` keeps it alive: it drops only abandoned members,
            // and only the end of this thread's table, which also clears `LAST`, abandons it.
            return unsafe { &*member };
        }
        self.mine_slow()
    }

    #[cold]
    fn mine_slow(&self) -> &Member {
        let known = MINE.try_with(|mine| {
            let mut mine = mine.borrow_mut();
            mine.0.retain(|(_, member)| Arc::strong_count(member) > 1);
            let known = mine.0.iter().find(|(serial, _)| *serial == self.serial);
            let member = known.map(|(_, member)| member.clone()).unwrap_or_else(|| {
                let member = self.join();
                mine.0.push((self.serial, member.clone()));
                member
            });
            Arc::as_ptr(&member)
        });
        // In a thread-local destructor the table may be gone. The registry alone then holds the member, and nobody will abandon it.
        let member = known.unwrap_or_else(|_| Arc::as_ptr(&self.join()));
        LAST.with(|last| last.set((self.serial, member)));
        // SAFETY: the registry of `self` holds the member; it outlives this borrow of `self`, because the registry drops only abandoned members, and only
        // the end of this thread's table, which also clears `LAST`, abandons it.
        unsafe { &*member }
    }

    /// A member for a new thread: an abandoned one, or a fresh one.
    fn join(&self) -> Arc<Member> {
        let mut members = lock(&self.members);
        for (_, member) in members.all.iter() {
            // Acquire: pairs with the release in `Mine::drop`, so that the cache is as the ended thread left it.
            let left = Mistake::ThreadTakenTwice.is_made();
            let order = if Mistake::ThreadTakenUnordered.is_made() { Ordering::Relaxed } else { Ordering::Acquire };
            if member.abandoned.swap(left, order) {
                return member.clone();
            }
        }
        let member = Arc::new(Member::new());
        members.all.insert(member.clone());
        member
    }
}

impl Stopped<'_> {
    /// Whether no thread was in a section since `still`, which [`Threads::still`] gave. Threads only add to the sum, so if it is the same, so is each part (G3).
    pub fn nobody_moved_since(&self, still: Option<u64>) -> bool {
        still.is_some() && self.members.still() == still
    }

    /// Whether a section ended by a panic, and this was not forgiven.
    pub fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Calls `visit` with every cache.
    pub fn visit_caches(&mut self, mut visit: impl FnMut(&mut Cache)) {
        for (_, member) in self.members.all.iter() {
            // SAFETY: the gate is closed for as long as `self` lives, so no thread is inside a section (T1).
            visit(unsafe { member.cache() });
        }
    }

    /// Calls `visit` with every cache, and whether its thread has ended; such a cache is dropped afterwards.
    pub fn visit_and_retire_caches(&mut self, mut visit: impl FnMut(&mut Cache, bool)) {
        let Members { all, moves_of_gone } = &mut *self.members;
        all.retain(|_, member| {
            // Acquire: as in `join`.
            let abandoned = member.abandoned.load(Ordering::Acquire);
            // SAFETY: as in `visit_caches`.
            visit(unsafe { member.cache() }, abandoned);
            if abandoned && !Mistake::ThreadMovesForgotten.is_made() {
                *moves_of_gone +=
                    member.turnstile.still().expect("a thread ends outside, or its member is not abandoned");
            }
            !abandoned
        });
    }
}

/// This thread's members, by the serial number of their heaps.
struct Mine(Vec<(u64, Arc<Member>)>);

impl Drop for Mine {
    fn drop(&mut self) {
        // When a model fails, what its threads left is dropped with nothing of the model around.
        if cfg!(any(loom, shuttle)) && std::thread::panicking() {
            return;
        }
        let _ = LAST.try_with(|last| last.set((0, std::ptr::null())));
        // One that is inside a section (leaked, or held by a thread-local value that is dropped later) stays this thread's for ever.
        for (_, member) in self.0.iter().filter(|(_, member)| member.depth.get() == 0) {
            // Release: whoever sees the flag sees the cache as this thread left it.
            member.abandoned.store(true, Ordering::Release);
        }
    }
}

local!(static LAST: Cell<(u64, *const Member)> = Cell::new((0, std::ptr::null())));
local!(static MINE: RefCell<Mine> = RefCell::new(Mine(Vec::new())));

#[cfg(all(test, any(loom, shuttle)))]
mod models;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn sections_nest_and_an_ended_thread_leaves_its_cache() {
        let threads = Arc::new(Threads::new());
        let member = threads.enter();
        threads.enter();
        assert!(threads.is_inside());
        threads.leave(member);
        assert!(threads.is_inside());
        threads.leave(member);
        assert!(!threads.is_inside());
        let theirs = threads.clone();
        let thread = std::thread::spawn(move || {
            let member = theirs.enter();
            theirs.leave(member);
        });
        thread.join().unwrap();
        let mut seen = Vec::new();
        threads.stop().visit_and_retire_caches(|_, abandoned| seen.push(abandoned));
        assert_eq!(seen, [false, true]);
        threads.stop().visit_and_retire_caches(|_, abandoned| assert!(!abandoned));
    }

    #[test]
    fn whoever_was_in_a_section_has_moved() {
        let threads = Arc::new(Threads::new());
        let moved = |still| !threads.stop().nobody_moved_since(still);
        let still = threads.still();
        assert!(still.is_some() && !moved(still) && !moved(still), "a stop is no move");
        let member = threads.enter();
        assert_eq!(threads.still(), None);
        let inside = threads.still();
        threads.leave(member);
        assert!(moved(still), "a section has ended");
        assert!(moved(inside), "someone was in a section");
        let still = threads.still();
        let theirs = threads.clone();
        std::thread::spawn(move || theirs.leave(theirs.enter())).join().unwrap();
        assert!(moved(still), "a new thread was in a section");
        let still = threads.still();
        threads.stop().visit_and_retire_caches(|_, _| ());
        assert!(lock(&threads.members).all.len() == 1 && !moved(still), "a thread that ends is no move");
    }

    #[test]
    fn a_leaked_section_is_never_another_threads() {
        let threads = Arc::new(Threads::new());
        let theirs = threads.clone();
        let leaker = std::thread::spawn(move || {
            theirs.enter();
        });
        leaker.join().unwrap();
        let theirs = threads.clone();
        let fresh = std::thread::spawn(move || {
            assert!(!theirs.is_inside(), "took over the section of a thread that ended");
            let member = theirs.enter();
            theirs.leave(member);
        });
        fresh.join().unwrap();
        assert_eq!(lock(&threads.members).all.len(), 2);
    }

    #[test]
    fn sections_work_in_thread_local_destructors() {
        struct Late(Arc<Threads>, std::sync::mpsc::Sender<()>);
        impl Drop for Late {
            fn drop(&mut self) {
                let member = self.0.enter();
                self.0.leave(member);
                self.1.send(()).unwrap();
            }
        }
        thread_local!(static LATE: RefCell<Option<Late>> = const { RefCell::new(None) });
        let threads = Arc::new(Threads::new());
        let (done, finished) = std::sync::mpsc::channel();
        let theirs = threads.clone();
        let thread = std::thread::spawn(move || {
            // Registered before the table, so dropped after it.
            LATE.with_borrow_mut(|late| *late = Some(Late(theirs.clone(), done)));
            let member = theirs.enter();
            theirs.leave(member);
        });
        thread.join().unwrap();
        finished.recv().unwrap();
    }
}
