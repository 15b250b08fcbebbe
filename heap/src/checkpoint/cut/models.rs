//! Threads that allocate, and free each other's objects, beside cuts: the allocator, the caches, the threads and the cut of the engine, over real zones.
//! Only the tracker is the model's. No slot is handed out twice, none is lost, and each cut counts exactly what was allocated at its instant.

use super::*;
use crate::base::models::{Model, RACE, size, spawn};
use crate::base::sync::{AtomicU64, Ordering};
use crate::ladder::{Mapping, PolicyKind};
use crate::track::{TrackerKind, WriteTracker};
use std::alloc::Layout;
use std::collections::BTreeSet;
use std::sync::Mutex as StdMutex;

/// What the program has allocated. No part of the protocol, so of std.
#[derive(Default)]
struct Held {
    objects: BTreeSet<u64>,
    /// How many those were when the cut harvested.
    at_cut: Option<u64>,
}

/// A tracker that takes everything for written, and looks at what the program has in the middle of each cut.
struct Witness(Arc<StdMutex<Held>>);

impl WriteTracker for Witness {
    fn kind(&self) -> TrackerKind {
        TrackerKind::Signal
    }
    fn sees_kernel_writes(&self) -> bool {
        true
    }
    unsafe fn track(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }
    fn untrack(&self, _: Range<u64>) {}
    fn harvest(&self, range: Range<u64>, sink: &mut dyn FnMut(Range<u64>)) -> Result<()> {
        let mut held = self.0.lock().unwrap();
        held.at_cut = Some(held.objects.len() as u64);
        sink(range);
        Ok(())
    }
}

struct World {
    threads: Threads,
    allocator: Allocator,
    roots: Mutex<RootTable>,
    held: Arc<StdMutex<Held>>,
    /// Objects that wait for some thread to free them.
    shared: Mutex<Vec<u64>>,
}

impl World {
    fn new() -> Arc<Self> {
        let held = Arc::<StdMutex<Held>>::default();
        let ladder = (Mapping::Pages, PolicyKind::Fine);
        let allocator = Allocator::new([9; 16], Addressing::Lanes, Box::new(Witness(held.clone())), ladder);
        let (threads, roots) = (Threads::new(), Mutex::new(RootTable::default()));
        Arc::new(Self { threads, allocator: allocator.unwrap(), roots, held, shared: Mutex::new(Vec::new()) })
    }

    /// A section that allocates an object, and frees one that some thread has left.
    fn exchange(&self) {
        let member = self.threads.enter();
        let addr = self.alloc(member);
        let other = {
            let mut shared = lock(&self.shared);
            shared.insert(0, addr);
            if shared.len() > 1 { shared.pop() } else { None }
        };
        other.into_iter().for_each(|addr| self.free(member, addr));
        self.threads.leave(member);
    }

    fn alloc(&self, member: &super::super::Member) -> u64 {
        let layout = Layout::from_size_align(2048, 16).unwrap();
        // SAFETY: this thread is inside a section, and the reference ends with the statement.
        let addr = self.allocator.alloc(unsafe { member.cache() }, layout).unwrap();
        assert!(self.held.lock().unwrap().objects.insert(addr), "a slot was handed out twice");
        addr
    }

    fn free(&self, member: &super::super::Member, addr: u64) {
        assert!(self.held.lock().unwrap().objects.remove(&addr));
        // SAFETY: as in `alloc`.
        self.allocator.free(unsafe { member.cache() }, addr);
    }

    fn cut(&self, cuts: &mut CutState) {
        self.held.lock().unwrap().at_cut = None;
        cuts.cut(&self.allocator, &self.threads, &self.roots, Vec::new()).unwrap();
        let held = self.held.lock().unwrap().at_cut.unwrap_or(0);
        assert!(cuts.live().objects == held, "the cut counts {}, and {held} are allocated", cuts.live().objects);
    }
}

/// `threads` threads have `sections` sections each beside `cuts` cuts; then all is freed.
fn exchanges(threads: usize, sections: usize, cuts: usize) {
    let world = World::new();
    let mut state = CutState::recover(Epoch(0), &Catalog::default());
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let world = world.clone();
            spawn(move || (0..sections).for_each(|_| world.exchange()))
        })
        .collect();
    (0..cuts).for_each(|_| world.cut(&mut state));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.cut(&mut state);
    let member = world.threads.enter();
    let left = std::mem::take(&mut *lock(&world.shared));
    left.into_iter().for_each(|addr| world.free(member, addr));
    world.threads.leave(member);
    world.cut(&mut state);
    assert!(state.live().objects == 0, "a slot was lost");
    world.allocator.check();
}

#[test]
fn slots_are_handed_out_once_and_counted_at_each_cut() {
    const COUNT: &str = "the cut counts";
    Model::new("alloc and cut", || on_a_large_stack(|| exchanges(size(1, 3), size(3, 6), size(1, 3))))
        .preemptions(3)
        .holds()
        .rejects(Mistake::CutForgetsRest, COUNT)
        .rejects(Mistake::CacheLosesFreed, COUNT)
        .rejects(Mistake::CacheKeepsBatch, "double free")
        .rejects(Mistake::GateLooksFirst, RACE);
    Model::new("alloc and cut, two threads", || on_a_large_stack(|| exchanges(2, 2, 1)))
        .preemptions(2)
        .holds()
        .loom_rejects(Mistake::CutSettlesInOnePass, COUNT);
}

fn on_a_large_stack(body: impl FnOnce() + Send + 'static) {
    spawn(body).join().unwrap();
}

/// A thread frees what another allocated in a zone that it has never seen: the address brings the owner of the zone with it.
fn passed() {
    let (world, passed) = (World::new(), Arc::new(AtomicU64::new(0)));
    let giver = {
        let (world, passed) = (world.clone(), passed.clone());
        spawn(move || {
            let member = world.threads.enter();
            let order = if Mistake::AddressPassedUnordered.is_made() { Ordering::Relaxed } else { Ordering::Release };
            passed.store(world.alloc(member), order);
            world.threads.leave(member);
        })
    };
    let member = world.threads.enter();
    let addr = passed.load(Ordering::Acquire);
    if addr != 0 {
        world.free(member, addr);
    }
    world.threads.leave(member);
    giver.join().unwrap();
}

#[test]
fn whoever_has_an_address_knows_the_owner_of_its_zone() {
    Model::new("owner of a zone", || on_a_large_stack(passed))
        .preemptions(4)
        .holds()
        .loom_rejects(Mistake::AddressPassedUnordered, "is not in this heap");
}
