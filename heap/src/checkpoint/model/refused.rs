//! The kernel refuses what lanes by huge pages need: the records make memory all the same.

use super::*;
use crate::sys::refuse::{Refusal, can_refuse, refusing};
use std::time::Duration;

/// How often, some milliseconds apart, a block may be busy that nobody writes to.
const ATTEMPTS: u32 = 60;

fn world(mapping: Mapping, policy: PolicyKind) -> Option<World> {
    let there = is_there(TrackerKind::Async) && can_refuse();
    there.then(|| World::new(TrackerKind::Async, (mapping, policy)))
}

fn alloc(count: u16) -> Op {
    Op::Alloc { count, bytes: BLOCK_OBJECT_BYTES, fill: Some(3), writes: Writes::Barrier }
}

impl World {
    fn steps(&mut self, ops: impl IntoIterator<Item = Op>) {
        ops.into_iter().try_for_each(|op| self.step(op)).unwrap();
        self.cut(Fate::Durable).unwrap();
    }

    fn huge_blocks(&self) -> u64 {
        self.shared.allocator.ladder_stats().huge_blocks
    }

    /// Cuts until a block is a huge page.
    fn becomes_huge(&mut self) {
        for _ in 0..ATTEMPTS {
            self.steps([Op::WriteMany { first: 0, count: 1, at: 9, value: 9, writes: Writes::Hardware }]);
            if self.huge_blocks() > 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no block has become a huge page");
    }
}

/// Writes to blocks that are filled, and to one that is being filled; a block becomes empty, and is filled again.
fn work(seed: u8) -> Vec<Op> {
    let written =
        |first, count, value: u8, writes| Op::WriteMany { first, count, at: value.into(), value: value + seed, writes };
    let write = |first, count, value| written(first, count, value, Writes::Hardware);
    let mark = |first, count, value| written(first, count, value, Writes::Barrier);
    vec![
        alloc(BLOCK_OBJECTS),
        Op::Cut(Fate::Durable),
        alloc(BLOCK_OBJECTS + 700),
        write(3000, 9000, 1),
        Op::Cut(Fate::Lost),
        write(0, 5, 2),
        mark(4, 300, 7),
        write(15000, 2000, 3),
        Op::Idle(2),
        write(7000, 400, 4),
        mark(2900, 5000, 8),
        Op::Cut(Fate::Durable),
        Op::FreeMany { first: 0, count: BLOCK_OBJECTS },
        Op::Punch,
        alloc(BLOCK_OBJECTS / 2),
        write(0, 2000, 5),
    ]
}

#[test]
fn blocks_that_the_kernel_has_no_huge_pages_for_are_pages_and_lose_no_write() {
    for (mapping, error) in
        [(Mapping::Auto, libc::EINVAL), (Mapping::Huge, libc::ENOMEM), (Mapping::Huge, libc::EAGAIN)]
    {
        let Some(mut world) = world(mapping, PolicyKind::Coarse) else { return };
        refusing(&[Refusal::collapse(error)], || {
            world.steps(work(0));
            let stats = world.shared.allocator.ladder_stats();
            assert_eq!((stats.huge_blocks, stats.young, stats.cold), (0, 0, 0), "{mapping}, error {error}");
        });
        world.steps(work(10));
    }
}

/// A huge page that was there when the kernel began to refuse stays one, and is mapped by pages where a lane cannot be mapped anew.
#[test]
fn lanes_that_can_not_be_mapped_anew_lose_no_write() {
    if !huge_lanes().is_available() {
        return skip_huge();
    }
    let (before, after) = (Refusal::map_over(libc::ENOMEM), Refusal::advice(libc::MADV_DONTFORK, libc::ENOMEM));
    for (refusal, policy) in [(before, PolicyKind::Adaptive), (after, PolicyKind::ActiveCks)] {
        let Some(mut world) = world(Mapping::Huge, policy) else { return };
        let coarsened = |world: &World| world.shared.allocator.ladder_stats().coarsened;
        world.steps(work(0));
        let before = coarsened(&world);
        if world.huge_blocks() == 0 {
            return sys::probe::skip("the kernel has no huge page to give");
        }
        refusing(&[refusal], || world.steps(work(10)));
        assert_eq!(coarsened(&world), before, "{policy}");
        world.steps(work(20));
        assert!(before > 0 && coarsened(&world) > before, "{policy}: lane-blocks were to be mapped anew");
    }
}

fn skip_huge() {
    sys::probe::skip(&format!("lanes mapped by huge pages: {}", huge_lanes()));
}

/// Of the last run of pages in a block some lanes are fresh still. As a huge page, the block would be told to start with them, and forget the rest.
#[test]
fn a_block_of_pages_that_is_being_filled_is_no_huge_page_yet() {
    if !huge_lanes().is_available() {
        return skip_huge();
    }
    let Some(mut world) = world(Mapping::Auto, PolicyKind::Fine) else { return };
    // All frames but those of the last run, and four lanes of these.
    world.steps([alloc(BLOCK_OBJECTS / 8 * 7 + 4 * 64)]);
    assert_eq!(world.huge_blocks(), 0, "it is being filled");
    let all = |value| Op::WriteMany { first: 0, count: u16::MAX, at: 0, value, writes: Writes::Hardware };
    world.steps([alloc(2 * 64), all(5)]);
    world.steps([all(6)]);
    assert_eq!(world.huge_blocks(), 0, "it is being filled");
    world.steps([alloc(10 * 64)]);
    world.becomes_huge();
    world.steps([all(7)]);
}

/// Random operations, while the kernel refuses now one thing, now another, now nothing.
#[test]
fn durable_records_make_memory_whatever_the_kernel_refuses() {
    let [remap, keep_from_children] =
        [Refusal::map_over(libc::ENOMEM), Refusal::advice(libc::MADV_DONTFORK, libc::ENOMEM)];
    // A zone is mapped by larger pieces, and may be.
    let refusals = [
        Refusal::collapse(libc::ENOMEM),
        Refusal::collapse(libc::EAGAIN),
        remap.of_a_block(),
        keep_from_children.of_a_block(),
    ];
    let ops = |mapping| proptest::collection::vec(op(mapping), 1..20);
    for (mapping, policy) in [(Mapping::Huge, PolicyKind::Adaptive), (Mapping::Auto, PolicyKind::ActiveRnd)] {
        if world(mapping, policy).is_none() {
            return;
        }
        let config =
            ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 200, ..Default::default() };
        let strategy = proptest::collection::vec((0..=refusals.len(), ops(mapping)), 1..6);
        let checked = TestRunner::new(config).run(&strategy, |parts| {
            let mut world = world(mapping, policy).unwrap();
            for (refused, ops) in parts {
                let refused = refusals.get(refused).cloned();
                refusing(refused.as_slice(), || ops.into_iter().try_for_each(|op| world.step(op)))?;
                world.cut(Fate::Durable)?;
            }
            Ok(())
        });
        checked.unwrap_or_else(|e| panic!("mapping {mapping}, policy {policy}: {e}"));
    }
}
