//! The input as what one thread does with a heap in memory: each operation is a byte and what it needs. The contents are compared with a model.

use super::Input;
use super::memory::Memory;
use crate::memory::{object, pattern, read, write};
use crate::trackers::{options, trackers};
use std::alloc::Layout;
use std::path::Path;
use strewn::{Heap, HeapOptions, testing};

const LOG_BYTES: u64 = 4096;
const OPS_MAX: usize = 300;
const LIVE_MAX: usize = 200;

struct World {
    options: HeapOptions,
    place: Memory,
    heap: Option<Heap>,
    live: Vec<(u64, Vec<u8>)>,
    durable: Vec<(u64, Vec<u8>)>,
}

impl World {
    fn new() -> Self {
        let (options, place) = (options(trackers()[0], LOG_BYTES).seed(3), Memory::default());
        let heap = Some(testing::create(&options, &place, Path::new("/fuzz.heap")).expect("create in memory"));
        Self { options, place, heap, live: Vec::new(), durable: Vec::new() }
    }

    fn heap(&self) -> &Heap {
        self.heap.as_ref().expect("open but while it is opened again")
    }

    fn alloc(&mut self, size: usize, align: usize, seed: u64) {
        if self.live.len() == LIVE_MAX {
            return;
        }
        let layout = Layout::from_size_align(size, align).expect("a small layout");
        let section = self.heap().enter();
        let addr = section.alloc(layout).expect("a few objects fit").as_ptr().expose_provenance() as u64;
        assert!(addr.is_multiple_of(align as u64), "{addr:#x}: {layout:?}");
        let bytes = pattern(seed, size);
        // SAFETY: just allocated, for this layout; inside a section.
        unsafe { write(addr, &bytes) };
        drop(section);
        assert!(self.live.iter().all(|(other, _)| *other != addr), "{addr:#x} was handed out twice");
        self.live.push((addr, bytes));
    }

    fn write(&mut self, which: usize, from: usize, len: usize, seed: u64) {
        let Some(count) = Some(self.live.len()).filter(|count| *count > 0) else { return };
        let heap = self.heap.as_ref().expect("open");
        let (addr, bytes) = &mut self.live[which % count];
        let from = from % (bytes.len() + 1);
        let new = pattern(seed, len.min(bytes.len() - from));
        bytes[from..from + new.len()].copy_from_slice(&new);
        let _section = heap.enter();
        // SAFETY: within a live object; inside a section, on the only thread.
        unsafe { write(*addr + from as u64, &new) };
    }

    fn free(&mut self, which: usize) {
        if !self.live.is_empty() {
            let (addr, _) = self.live.swap_remove(which % self.live.len());
            // SAFETY: a live object, forgotten just now.
            unsafe { self.heap().enter().dealloc(object(addr)) };
        }
    }

    fn checkpoint(&mut self) {
        self.heap().checkpoint().expect("a checkpoint in memory");
        self.durable.clone_from(&self.live);
    }

    /// Ends the heap and opens it again.
    fn reopen(&mut self, close: bool) {
        let heap = self.heap.take().expect("open");
        if close {
            heap.close().expect("close in memory");
            self.durable.clone_from(&self.live);
        } else {
            drop(heap);
            self.live.clone_from(&self.durable);
        }
        self.heap = Some(testing::open(&self.options, &self.place, Path::new("/fuzz.heap")).expect("open in memory"));
        self.compare();
    }

    fn compare(&self) {
        self.heap().check();
        assert_eq!(self.heap().stats().expect("stats").live_objects, self.durable.len() as u64);
        let _section = self.heap().enter();
        for (addr, bytes) in &self.live {
            // SAFETY: a live object of this length; the only thread.
            assert!(unsafe { read(*addr, bytes.len()) } == *bytes, "other contents at {addr:#x}");
        }
    }
}

/// Does what the input says.
///
/// # Panics
/// If the heap differs from the model.
pub fn run(data: &[u8]) {
    let (mut world, mut input) = (World::new(), Input(data));
    for step in 0..OPS_MAX as u64 {
        if input.is_over() {
            break;
        }
        let op = input.byte();
        match op % 16 {
            0..=4 => {
                let (size, align) = (input.byte(), input.byte());
                let size = usize::from(size) * [1, 3, 11, 80][usize::from(op >> 4) % 4];
                world.alloc(size, 1 << (align % 13).saturating_sub(6), step);
            }
            5..=9 => {
                let (which, from, len) = (input.byte(), input.short(), input.byte());
                world.write(which.into(), from.into(), usize::from(len) * usize::from(op >> 4), step);
            }
            10 | 11 => world.free(input.byte().into()),
            12 | 13 => world.checkpoint(),
            14 => world.reopen(false),
            _ => world.reopen(true),
        }
    }
    world.checkpoint();
    world.reopen(false);
}

/// Random ones, of several lengths.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..12).map(|i| pattern(i, 20 + 40 * i as usize)).collect()
}
