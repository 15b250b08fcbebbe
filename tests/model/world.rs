//! A heap and its model side by side.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use strewn::{Heap, HeapOptions, Ticket};
use strewn_tests::memory::{object, pattern, read, write};

const PAGE: usize = 4096;
const LANE_BITS: u64 = 0x1FF << 30;

/// One live object of the model.
#[derive(Clone)]
pub struct Object {
    layout: Layout,
    usable: usize,
    bytes: Rc<Vec<u8>>,
}

/// The live objects by address.
pub type State = BTreeMap<u64, Object>;

/// A heap, what it holds, and what its checkpoints held.
pub struct World {
    options: HeapOptions,
    path: PathBuf,
    heap: Option<Heap>,
    live: State,
    durable: State,
    /// Checkpoints that may or may not be durable, oldest first.
    pending: Vec<(Ticket, State)>,
}

impl World {
    pub fn new(options: HeapOptions, path: PathBuf) -> Self {
        let heap = Some(options.create(&path).unwrap());
        Self { options, path, heap, live: State::new(), durable: State::new(), pending: Vec::new() }
    }

    pub fn heap(&self) -> &Heap {
        self.heap.as_ref().expect("closed only while it is opened again")
    }

    pub fn addresses(&self) -> Vec<u64> {
        self.live.keys().copied().collect()
    }

    /// Allocates; fills with a pattern, or takes the bytes as they come.
    pub fn alloc(&mut self, layout: Layout, fill: Option<u64>) -> u64 {
        let section = self.heap().enter();
        let pointer = section.alloc(layout).unwrap();
        let addr = pointer.as_ptr().expose_provenance() as u64;
        let usable = section.usable_bytes(pointer).expect("just allocated");
        assert!(addr.is_multiple_of(layout.align() as u64), "{layout:?} at {addr:#x}");
        assert!(usable >= layout.size() && section.owns(pointer), "{layout:?} at {addr:#x} of {usable} bytes");
        // SAFETY: just allocated, for this layout; one thread.
        let bytes = unsafe {
            if let Some(seed) = fill {
                write(addr, &pattern(seed, layout.size()));
            }
            read(addr, layout.size())
        };
        drop(section);
        let object = Object { layout, usable, bytes: Rc::new(bytes) };
        assert!(self.live.insert(addr, object).is_none(), "{addr:#x} was handed out twice");
        addr
    }

    /// Writes a pattern over `range` of the object at `addr`.
    pub fn write(&mut self, addr: u64, from: usize, len: usize, seed: u64) {
        let bytes = pattern(seed, len);
        let section = self.heap.as_ref().expect("open").enter();
        let object = self.live.get_mut(&addr).expect("live");
        Rc::make_mut(&mut object.bytes)[from..from + len].copy_from_slice(&bytes);
        // SAFETY: within the live object; one thread.
        unsafe { write(addr + from as u64, &bytes) };
        drop(section);
    }

    pub fn len_of(&self, addr: u64) -> usize {
        self.live[&addr].bytes.len()
    }

    pub fn free(&mut self, addr: u64) {
        self.live.remove(&addr).expect("live");
        // SAFETY: a live object, and the model has forgotten it.
        unsafe { self.heap().enter().dealloc(object(addr)) };
    }

    pub fn checkpoint(&mut self) {
        self.heap().checkpoint().unwrap();
        self.pending.clear();
        self.durable = self.live.clone();
        self.check_counts();
    }

    pub fn checkpoint_async(&mut self, wait: bool) {
        let ticket = self.heap().checkpoint_async().unwrap();
        self.check_counts();
        if wait {
            ticket.wait().unwrap();
            self.pending.clear();
            self.durable = self.live.clone();
        } else {
            self.pending.push((ticket, self.live.clone()));
        }
    }

    /// Drops the heap without closing it, which is like a crash, and opens it again.
    pub fn crash(&mut self) {
        drop(self.heap.take());
        // Dropping waits for what was on its way to the disk, so each outcome is known.
        for (ticket, state) in std::mem::take(&mut self.pending) {
            ticket.try_wait().expect("known once the heap is dropped").unwrap();
            self.durable = state;
        }
        self.live = self.durable.clone();
        self.open();
    }

    /// Closes the heap, and opens it again.
    pub fn close(&mut self) {
        self.heap.take().expect("open").close().unwrap();
        self.pending.clear();
        self.durable = self.live.clone();
        self.open();
    }

    fn open(&mut self) {
        self.heap = Some(self.options.open(&self.path).unwrap());
        self.check_counts();
        self.check();
    }

    /// Compares everything.
    pub fn check(&self) {
        self.heap().check();
        let section = self.heap().enter();
        let mut end = 0;
        for (place, addr) in self.places() {
            let Object { layout, usable, bytes } = &self.live[&addr];
            assert!(place >= end, "{layout:?} at {addr:#x} overlaps the object before it");
            end = place + *usable as u64;
            assert_eq!(section.usable_bytes(object(addr)), Some(*usable), "{layout:?} at {addr:#x}");
            // SAFETY: a live object of that length; one thread.
            let found = unsafe { read(addr, bytes.len()) };
            if let Some(i) = (0..bytes.len()).find(|i| found[*i] != bytes[*i]) {
                panic!("{layout:?} at {addr:#x}: byte {i} is {:#04x}, not {:#04x}", found[i], bytes[i]);
            }
        }
    }

    /// Where each object lies when all lanes are folded into one, ascending; and its address.
    fn places(&self) -> Vec<(u64, u64)> {
        let place = |(addr, object): (&u64, &Object)| {
            let in_slot = object.usable <= PAGE / 2;
            (if in_slot { addr & !LANE_BITS } else { *addr }, *addr)
        };
        let mut places: Vec<_> = self.live.iter().map(place).collect();
        places.sort_unstable();
        places
    }

    /// Compares what the heap counts, as of a checkpoint that was just made.
    fn check_counts(&self) {
        let stats = self.heap().stats().unwrap();
        let bytes: usize = self.live.values().map(|object| object.usable).sum();
        assert_eq!((stats.live_objects, stats.live_bytes), (self.live.len() as u64, bytes as u64), "(objects, bytes)");
    }
}
