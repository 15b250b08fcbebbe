//! Blocks of memory that come and go: what lies in them, and whether it goes back to the system.

use crate::world::World;
use std::alloc::Layout;
use strewn::{Mapping, PolicyKind, TrackerKind};
use strewn_tests::memory::mix;
use strewn_tests::process::{alone, fast_dir, say};
use strewn_tests::trackers::{huge_pages_are_missing, options, trackers};

const OBJECT_BYTES: usize = 64;
const BLOCK_BYTES: u64 = 2 << 20;
/// As many objects fill a block.
const BLOCK_OBJECTS: usize = BLOCK_BYTES as usize / OBJECT_BYTES;
const BLOCKS: usize = 3;

/// The block of its zone in which an object lies.
fn block_of(addr: &u64) -> usize {
    ((addr & ((1 << 30) - 1)) / BLOCK_BYTES) as usize
}

fn fill(world: &mut World, objects: usize, seed: u64) -> Vec<u64> {
    let layout = Layout::from_size_align(OBJECT_BYTES, 8).unwrap();
    (0..objects as u64).map(|i| world.alloc(layout, Some(mix(seed, i)))).collect()
}

/// Frees objects in the order of blocks. The thread keeps the last ones in its cache, and the block that they lie in.
fn free(world: &mut World, mut objects: Vec<u64>) {
    objects.sort_unstable_by_key(|addr| (block_of(addr), *addr));
    objects.into_iter().for_each(|addr| world.free(addr));
}

/// Blocks that have memory, and those that are huge pages. A heap that was opened has pages where a block has few objects.
fn blocks(world: &World) -> (u64, u64) {
    let stats = world.heap().stats().unwrap();
    (stats.arena_bytes.div_ceil(BLOCK_BYTES), stats.ladder.huge_blocks)
}

fn come_and_go(mapping: Mapping, policy: PolicyKind) {
    let dir = fast_dir();
    let options = options(TrackerKind::Async, 8 << 20).mapping(mapping).policy(policy);
    let mut world = World::new(options, dir.path().join("blocks.heap"));
    let objects = fill(&mut world, BLOCKS * BLOCK_OBJECTS, 1);
    world.checkpoint();
    if blocks(&world).1 < BLOCKS as u64 {
        return huge_pages_are_missing(&format!("{:?}", world.heap().stats().unwrap().ladder));
    }
    assert_eq!(blocks(&world), (3, 3));

    // A few objects keep their block; the last ones freed lie in the same.
    let (kept, freed): (Vec<_>, Vec<_>) = objects.iter().partition(|addr| block_of(addr) == 1);
    free(&mut world, freed);
    let (few, rest) = kept.split_at(5);
    free(&mut world, rest.to_vec());
    world.checkpoint();
    assert_eq!(blocks(&world), (1, 1), "{policy}");
    world.check();
    let written = few[2];
    world.write(written, 3, 40, 77);
    world.checkpoint();

    // New objects take the room of the old ones, and outlive a crash and a closed heap.
    let again = fill(&mut world, BLOCKS * BLOCK_OBJECTS - few.len(), 2);
    assert!(again.iter().all(|addr| block_of(addr) < BLOCKS), "{policy}: the zone grew");
    world.checkpoint();
    assert_eq!(blocks(&world), (3, 3), "{policy}");
    for i in 0..6 {
        (0..again.len()).step_by(7 + 300 * i).for_each(|n| world.write(again[n], i, 8, n as u64));
        world.checkpoint();
    }
    world.crash();
    assert_eq!(blocks(&world), (3, 3), "{policy}");
    (0..again.len()).step_by(1001).for_each(|n| world.write(again[n], 1, 8, n as u64));
    world.close();

    // What this thread has in its cache, it keeps, but nothing after the heap is opened again.
    let all = world.addresses();
    free(&mut world, all);
    world.checkpoint();
    let left = blocks(&world);
    assert!(left.0 <= 1, "{policy}: {left:?}");
    world.crash();
    assert_eq!(blocks(&world), (0, 0), "{policy}");
    fill(&mut world, 100, 3);
    world.close();
    assert_eq!((blocks(&world).0, world.addresses().len()), (1, 100), "{policy}");
}

#[test]
fn memory_of_blocks_without_objects_goes_back_and_is_used_again() {
    let _alone = alone();
    if !trackers().contains(&TrackerKind::Async) {
        return say("SKIP: blocks that are huge pages: there is no async tracker");
    }
    for policy in [PolicyKind::Adaptive, PolicyKind::Fine, PolicyKind::Coarse, PolicyKind::ActiveCks] {
        come_and_go(Mapping::Huge, policy);
    }
    // The first block is filled by pages, and becomes a huge page at the checkpoint.
    come_and_go(Mapping::Auto, PolicyKind::Adaptive);
}
