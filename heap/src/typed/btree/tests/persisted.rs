//! What a walk accepts, and what it refuses; what a write costs a checkpoint.

use super::*;
use crate::typed::Purpose;

type Map<'s> = PBTreeMap<'s, u64, PString<'s>>;

/// Makes a map, damages its tree with `damage`, and returns what a walk says; then mends it with what `damage` returned.
fn walked(damage: impl FnOnce(&mut Map<'_>) -> Box<dyn FnOnce(&mut Map<'_>)>) -> Result<()> {
    let (_dir, path) = place();
    let heap = Heap::options().writes(crate::Writes::Hardware).create(path).unwrap();
    let section = heap.enter();
    let map: Map<'_> = (0..100).map(|n| (n, PString::from_str_in("text", &section))).collect_in(&section);
    let mut map = crate::typed::PBox::new_in(map, &section);
    let mend = damage(&mut map);
    let mut walker = Walker::new(section.engine(), Purpose::Trace);
    // SAFETY: a map that nobody uses meanwhile.
    let result = unsafe { walker.root::<Map<'_>>(crate::typed::PBox::address(&map)) };
    mend(&mut map);
    map.check();
    result
}

/// Writes a number at `offset` of the node at `at`, and returns what was there.
fn poke(at: At, offset: usize, value: u64, bytes: usize) -> u64 {
    let place = crate::sys::ptr(at.addr + offset as u64);
    let mut old = [0; 8];
    // SAFETY: within a node of a map that is borrowed alone.
    unsafe {
        place.copy_to_nonoverlapping(old.as_mut_ptr(), bytes);
        place.copy_from_nonoverlapping(value.to_le_bytes().as_ptr(), bytes);
    }
    u64::from_le_bytes(old)
}

/// A walk of a map where `bytes` at `offset` of the root, or of a leaf, are `value`.
fn poked(leaf: bool, offset: usize, value: impl Fn(u64) -> u64, bytes: usize) -> String {
    let result = walked(|map| {
        let root = map.root().unwrap();
        let at = if leaf { root.child(1).at() } else { root.at() };
        let old = poke(at, offset, 0, bytes);
        poke(at, offset, value(old), bytes);
        Box::new(move |_| {
            poke(at, offset, old, bytes);
        })
    });
    let e = result.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    e.to_string()
}

#[test]
fn a_walk_refuses_trees_that_are_none() {
    walked(|_| Box::new(|_| ())).unwrap();
    let refused = |text: String, why: &str| assert!(text.contains(why), "`{text}` does not say `{why}`");
    let edge = Shape::<u64, PString<'_>>::EDGES;
    refused(poked(true, 0, |_| 2, 4), "2 values");
    refused(poked(true, 0, |len| len - 1, 4), "99 values where 100 are counted");
    refused(poked(true, 0, |_| 1 << 20, 4), "1048576 values");
    refused(poked(false, 0, |_| 0, 4), "0 values");
    refused(poked(true, 4, |_| 1, 4), "level 1 where 0 is expected");
    refused(poked(false, edge, |addr| addr + 8, 8), "no object of this heap");
    refused(poked(false, edge, |addr| addr + 3, 8), "not aligned");
    refused(poked(false, edge, |_| 0, 8), "no object of this heap");
    refused(poked(true, Shape::<u64, PString<'_>>::VALUES, |_| 8, 8), "no object of this heap");
    let twice = walked(|map| {
        let root = map.root().unwrap();
        let old = poke(root.at(), edge, root.child(1).at().addr, 8);
        let at = root.at();
        Box::new(move |_| {
            poke(at, edge, old, 8);
        })
    });
    refused(twice.unwrap_err().to_string(), "owned twice");
    let cycle = walked(|map| {
        let at = map.root_at().unwrap();
        let old = poke(at, edge, at.addr, 8);
        Box::new(move |_| {
            poke(at, edge, old, 8);
        })
    });
    refused(cycle.unwrap_err().to_string(), "owned twice");
    for (len, height, why) in [(100, 0, "0 levels"), (100, 33, "33 levels"), (99, 2, "100 values where 99")] {
        let result = walked(|map| {
            let old = (map.len, map.height);
            (map.len, map.height) = (len, height);
            Box::new(move |map| (map.len, map.height) = old)
        });
        refused(result.unwrap_err().to_string(), why);
    }
    let lower = walked(|map| {
        map.height = 1;
        Box::new(|map| map.height = 2)
    });
    refused(lower.unwrap_err().to_string(), "level 1 where 0 is expected");
}

#[test]
fn a_walk_reaches_what_keys_and_values_own() {
    let (_dir, path) = place();
    let heap = Heap::options().writes(crate::Writes::Hardware).create(path).unwrap();
    type Sets<'s> = PBTreeMap<'s, PString<'s>, PBTreeSet<'s, u32>>;
    let root = heap.root::<Sets>("sets", |section| {
        let texts = (0..some(500)).map(|n| PString::from_str_in(&format!("{n:05}"), section));
        Ok(texts.map(|text| (text, (0..3).collect_in(section))).collect_in(section))
    });
    let root = root.unwrap();
    let reached = {
        let section = heap.enter();
        let mut map = root.write(&section).unwrap();
        let mut walker = Walker::new(section.engine(), Purpose::Trace);
        let addr = section.engine().allocator.address_of((&raw mut *map).cast());
        // SAFETY: a map that nobody uses meanwhile.
        unsafe { walker.root::<Sets<'_>>(addr) }.unwrap();
        walker.into_reached().len() as u64
    };
    assert!(reached > 2 * some(500));
    heap.checkpoint().unwrap();
    assert_eq!(reached, heap.stats().unwrap().live_objects, "all that lives is reached, and nothing twice");
}

#[test]
fn the_description_has_what_nodes_depend_on() {
    let text = |described: crate::typed::schema::Described| described.text;
    assert_eq!(text(Schema::of::<PBTreeMap<'_, u64, u32>>()), "PBTreeMap<u64,u32>/31:8:256:384:384:640:8");
    assert_eq!(text(Schema::of::<PBTreeSet<'_, u8>>()), "PBTreeSet<u8>/31:8:39:40:40:296:8");
}

/// One value of many is changed: what is copied is its node.
#[cfg(not(any(miri, strewn_twin)))]
#[test]
fn a_write_costs_a_checkpoint_one_node() {
    let (_dir, path) = place();
    // By hardware, and by objects: whatever the environment says.
    let tracker = crate::probe().default_tracker();
    let heap = Heap::options().tracker(tracker).writes(crate::Writes::Hardware).create(path).unwrap();
    let root = heap
        .root::<PBTreeMap<u64, u64>>("map", |section| {
            Ok((0..200_000).map(|n| (n * 7919 % 200_000, n)).collect_in(section))
        })
        .unwrap();
    heap.checkpoint().unwrap();
    for n in 0..20 {
        let section = heap.enter();
        let before = root.write(&section).unwrap().get_mut(&(n * 9973)).map(|value| std::mem::replace(value, n));
        assert!(before.is_some());
        drop(section);
        let cut = heap.checkpoint().unwrap();
        // A leaf, or a node above.
        assert!(cut.objects_modified == 1 && [512, 816].contains(&cut.bytes_modified), "{cut:?}");
    }
}
