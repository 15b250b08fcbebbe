//! Sequences that went wrong once, or that chance would hardly find.

use super::*;

const BOTH: [Writes; 2] = [Writes::Hardware, Writes::Barrier];

/// Whatever an armed lane-block is compared with when it wakes must know what was written past the tracker: else what makes an object again what it was
/// then looks like no write. Many lane-blocks are written, so that some of those whose bytes are kept are among them.
#[test]
fn objects_that_become_by_hardware_what_they_were_before_a_mark_are_recorded() {
    for kind in [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page].into_iter().filter(|kind| is_there(*kind))
    {
        for (mapping, policy) in PolicyKind::ALL.into_iter().flat_map(|p| [(Mapping::Huge, p), (Mapping::Pages, p)]) {
            for (first, then, fate) in [
                (Writes::Barrier, Writes::Hardware, Fate::Durable),
                (Writes::Barrier, Writes::Hardware, Fate::Lost),
                (Writes::Barrier, Writes::Hardware, Fate::Failed(1)),
                (Writes::Hardware, Writes::Barrier, Fate::Durable),
            ] {
                let write = |first, count, value, writes| Op::WriteMany { first, count, at: 1, value, writes };
                let ops = vec![
                    Op::Alloc { count: BLOCK_OBJECTS, bytes: BLOCK_OBJECT_BYTES, fill: Some(0), writes: first },
                    Op::Idle(3),
                    write(100, 3000, 1, first),
                    Op::Cut(fate),
                    // Fewer of the same objects become what they were, and then the others.
                    write(100, 2000, 0, then),
                    Op::Cut(Fate::Durable),
                    write(2100, 1000, 0, then),
                ];
                let ran = World::new(kind, (mapping, policy)).run(ops);
                ran.unwrap_or_else(|e| panic!("{kind}, {mapping}, {policy}, {first} then {then}, {fate:?}: {e}"));
            }
        }
    }
}

/// The tracker does not see it: nobody wrote the zeros.
#[test]
fn slots_punched_out_and_allocated_again_between_two_cuts_are_recorded() {
    let kinds = [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page];
    let there = kinds.into_iter().filter(|kind| is_there(*kind));
    for (kind, mapping) in there.flat_map(|kind| [(kind, Mapping::Pages), (kind, Mapping::Huge)]) {
        // Some frames of pages, and a whole block of what may be huge pages.
        for (count, bytes) in [(200, 2048), (BLOCK_OBJECTS, BLOCK_OBJECT_BYTES)] {
            for (again, writes) in [None, Some(8)].into_iter().zip([Writes::Hardware, Writes::Barrier]) {
                let many = |fill| Op::Alloc { count, bytes, fill, writes };
                let ops = vec![many(Some(7)), Op::Cut(Fate::Durable), Op::FreeAll, Op::Punch, many(again)];
                let world = World::new(kind, (mapping, PolicyKind::Adaptive));
                world.run(ops).unwrap_or_else(|e| panic!("{kind} tracker, mapping {mapping}: {e}"));
            }
        }
    }
}

/// A cold lane-block whose bytes are kept must know those of its free slots as well: nobody writes to it when one is allocated as it is.
#[test]
fn a_slot_that_was_allocated_as_it_was_is_recorded_when_it_is_written_again() {
    let huge = |count, fill, writes| Op::Alloc { count, bytes: 256, fill, writes };
    for writes in BOTH {
        if !is_there(TrackerKind::Async) {
            return;
        }
        let ops = vec![
            huge(1433, Some(151), writes),
            Op::FreeAll,
            Op::Cut(Fate::Lost),
            huge(1344, None, writes),
            Op::Cut(Fate::Durable),
            Op::FreeMany { first: 0, count: 1344 },
            huge(1344, Some(0), writes),
            Op::Cut(Fate::Durable),
        ];
        World::new(TrackerKind::Async, (Mapping::Huge, PolicyKind::Coarse)).run(ops).unwrap();
    }
}

/// Cold lane-blocks are scanned while the program runs, before and after the world is stopped. Whatever is written meanwhile, a record is the heap at one
/// instant: here two objects of different lane-blocks are always written together.
#[test]
fn records_of_a_heap_that_is_written_all_the_while_are_of_one_instant() {
    if !is_there(TrackerKind::Async) {
        return;
    }
    for policy in [PolicyKind::Coarse, PolicyKind::Adaptive, PolicyKind::ActiveCks] {
        let mut world = World::new(TrackerKind::Async, (Mapping::Huge, policy));
        for _ in 0..100 {
            world.step(Op::Alloc { count: 250, bytes: 64, fill: Some(0), writes: Writes::Hardware }).unwrap();
        }
        let objects: Vec<u64> = world.live.iter().copied().collect();
        let (shared, stop, half) = (world.shared.clone(), AtomicBool::new(false), objects.len() / 2);
        let write_pairs = || {
            let mut count = 0usize;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                let first = count * 7919 % half;
                // In turn: both by hardware, both by the barrier, or one of each.
                let both = [(objects[first], count & 1), (objects[first + half], count >> 1 & 1)];
                let write = |(addr, how): (u64, usize)| {
                    // SAFETY: the bytes are those of live objects, which only this thread writes.
                    unsafe { sys::ptr(write_address(addr, 8, BOTH[how])).cast::<u64>().write(count as u64) }
                };
                shared.enter(|_, _| both.map(write));
                // Rarely enough that many lane-blocks are clean when they are scanned, and often enough that some are written right after.
                let pause = std::time::Instant::now();
                while pause.elapsed() < std::time::Duration::from_micros(5) {
                    std::hint::spin_loop();
                }
            }
        };
        let mut cut_and_compare = || {
            let Shared { allocator, threads, roots } = &*world.shared;
            let (report, builder) = world.cuts.cut(allocator, threads, roots, Vec::new()).unwrap();
            world.image.apply(&mut builder.finish());
            let value = |addr: u64| {
                let page = FrameIndex(((dense_address(addr) & ((1 << ZONE_SHIFT) - 1)) >> PAGE_SHIFT) as u32);
                let bytes = &world.image.page(ZoneIndex(0), page)[addr as usize % PAGE..][..8];
                u64::from_le_bytes(bytes.try_into().unwrap())
            };
            for first in 0..half {
                let (one, other) = (value(objects[first]), value(objects[first + half]));
                assert_eq!(one, other, "{policy}: objects {first} and {} were written together", first + half);
            }
            report.passes - 1
        };
        let again: u32 = std::thread::scope(|scope| {
            scope.spawn(write_pairs);
            let _stopping = StopOnDrop(&stop);
            (0..300).map(|_| cut_and_compare()).sum()
        });
        world.cut(Fate::Durable).unwrap();
        println!("{policy}: 300 cuts, {again} of them made twice");
    }
}

/// What the first pass of a cut has recorded is newer than the image: a slot that is what it is in the image again when the cut is made a second time must be recorded, too.
#[test]
fn what_was_written_back_between_two_passes_is_recorded() {
    BOTH.into_iter().for_each(write_back_between_two_passes);
}

fn write_back_between_two_passes(writes: Writes) {
    if !is_there(TrackerKind::Async) {
        return;
    }
    if let sys::probe::Feature::Missing(why) = huge_lanes() {
        return sys::probe::skip(&format!("lanes mapped by huge pages: {why}"));
    }
    let mut world = World::new(TrackerKind::Async, (Mapping::Huge, PolicyKind::Coarse));
    let block = |fill| Op::Alloc { count: BLOCK_OBJECTS, bytes: BLOCK_OBJECT_BYTES, fill, writes: Writes::Hardware };
    // A page run is harvested while the world is stopped, which is how the test knows that it was.
    let run = Op::Alloc { count: 1, bytes: 2 * PAGE, fill: None, writes };
    [run, block(Some(1)), Op::Idle(3)].into_iter().for_each(|op| world.step(op).unwrap());
    // New slots, whose lane-block is cold once the first pass has recorded it, and another one, which is written to as well so that there is a second pass.
    let before = world.live.clone();
    world.step(Op::Alloc { count: 2000, bytes: BLOCK_OBJECT_BYTES, fill: Some(7), writes }).unwrap();
    let new: Vec<u64> = world.live.difference(&before).copied().collect();
    let old = *before.range(..=(new[0] | ((1 << ZONE_SHIFT) - 1))).next_back().unwrap();
    let (shared, mut was_stopped, mut written) = (world.shared.clone(), false, false);
    *world.fuses.meanwhile.lock().unwrap() = Some(Box::new(move || {
        if shared.threads.is_stopped() {
            was_stopped = true;
            return;
        }
        let write = was_stopped && !std::mem::replace(&mut written, was_stopped);
        shared.enter(|_, _| {
            if write {
                // SAFETY: the objects are live, and this thread alone knows them. The new ones become what free slots are in the image.
                unsafe {
                    sys::ptr(old).write(2);
                    let at = |new: &u64| sys::ptr(write_address(*new, BLOCK_OBJECT_BYTES, writes));
                    new.iter().for_each(|new| at(new).write_bytes(0, BLOCK_OBJECT_BYTES));
                }
            }
        });
    }));
    let Shared { allocator, threads, roots } = &*world.shared;
    let (report, builder) = world.cuts.cut(allocator, threads, roots, Vec::new()).unwrap();
    *world.fuses.meanwhile.lock().unwrap() = None;
    assert_eq!(report.passes, 2);
    world.image.apply(&mut builder.finish());
    world.compare().unwrap();
}
