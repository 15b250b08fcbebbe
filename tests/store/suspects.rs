//! Slots that may have changed: what is left out of the log must be in the image, whatever the log, open or recovered, holds of the same frames.

use std::sync::Arc;
use strewn::testing::{
    Epoch, FrameIndex, LogStore, PAGE, Record, RecordBuilder, SlotLayout, SlotMask, ZoneIndex, ZoneKind, ZoneNumber,
};
use strewn_tests::sim::{Coins, SimDisk};
use strewn_tests::store_model::{OPTIONS, end, path};

const FRAMES: u64 = 8;
const ZONE: ZoneIndex = ZoneIndex(0);

/// One byte a slot: all bytes of a slot are alike.
type Frames = Vec<[u8; 64]>;

fn layout() -> SlotLayout {
    SlotLayout::new(64).unwrap()
}

fn page(slots: &[u8; 64]) -> Vec<u8> {
    slots.iter().flat_map(|byte| [*byte; 64]).collect()
}

fn open(disk: &Arc<SimDisk>) -> (LogStore, Frames) {
    let (mut store, _) = LogStore::open(&disk.place(), path()).unwrap();
    let mut frames = Frames::new();
    store
        .load(&mut |_, _, bytes| {
            frames.extend(bytes.chunks(PAGE).map(|page| std::array::from_fn(|slot| page[slot * 64])));
            Ok(())
        })
        .unwrap();
    (store, frames)
}

/// Changes slots of some frames, and records some as changed, some as suspects that may or may not have.
fn change(frames: &mut Frames, coins: &mut Coins) -> Record {
    let mut builder = RecordBuilder::new(Vec::new());
    for (frame, slots) in (0..).zip(frames).filter(|_| coins.below(3) == 0).collect::<Vec<_>>() {
        let dirty = SlotMask::from_words(&[coins.next() & coins.next() & coins.next()]);
        let suspects = SlotMask::from_words(&[coins.next()]).minus(&dirty);
        // Few values, so that a slot often is again what it was in the image, but not what it is in the log.
        for slot in dirty.or(&suspects).iter() {
            if !suspects.contains(slot) || coins.below(4) == 0 {
                slots[slot.index()] = coins.below(2) as u8;
            }
        }
        let page = page(slots);
        // SAFETY: `page` has PAGE bytes, and nobody else knows them.
        unsafe {
            builder.frame(ZONE, layout(), FrameIndex(frame), None, &dirty, page.as_ptr());
            builder.suspects(ZONE, layout(), FrameIndex(frame), &suspects, page.as_ptr());
        }
    }
    builder.finish()
}

#[test]
fn what_is_left_out_is_in_the_image() {
    let (mut suspects, mut unchanged) = (0, 0);
    for seed in 0..60 {
        let coins = &mut Coins::new(seed);
        let disk = if seed % 2 == 1 { SimDisk::with_background_folds() } else { SimDisk::new() };
        let mut options = OPTIONS;
        options.log_bytes = [3_000, 12_000, 50_000][seed as usize % 3];
        let mut store = LogStore::create(&disk.place(), path(), &options).unwrap();
        let mut frames: Frames = vec![[0; 64]; FRAMES as usize];
        let mut builder = RecordBuilder::new(Vec::new());
        builder.zone(ZONE, ZoneNumber(0x30), ZoneKind::Slots(layout()));
        let all = SlotMask::first(64);
        for frame in 0..FRAMES as u32 {
            // SAFETY: the page has PAGE bytes, and nobody else knows them.
            unsafe { builder.frame(ZONE, layout(), FrameIndex(frame), Some(&all), &all, [0; PAGE].as_ptr()) };
        }
        store.append(Epoch(1), &mut builder.finish()).unwrap();
        for epoch in 2..120 {
            store.append(Epoch(epoch), &mut change(&mut frames, coins)).unwrap();
            if coins.below(8) == 0 {
                (suspects, unchanged) = (suspects + store.stats().suspects, unchanged + store.stats().unchanged);
                end(store, coins);
                let (reopened, found) = open(&disk);
                assert!(found == frames, "seed {seed}: after epoch {epoch}");
                store = reopened;
            }
        }
    }
    // One in eight is given another value.
    assert!(
        unchanged > suspects * 2 / 5 && unchanged < suspects * 7 / 8,
        "{unchanged} of {suspects} suspects were left out"
    );
}

/// What the image has of a frame that has become empty, and is not folded yet, is not what recovery finds.
#[test]
fn slots_of_a_frame_that_was_empty_are_not_left_out() {
    let disk = SimDisk::new();
    let mut store = LogStore::create(&disk.place(), path(), &OPTIONS).unwrap();
    let all = SlotMask::first(64);
    let mut epoch = 0;
    let mut append = |store: &mut LogStore, change: &dyn Fn(&mut RecordBuilder)| {
        let mut builder = RecordBuilder::new(Vec::new());
        change(&mut builder);
        epoch += 1;
        store.append(Epoch(epoch), &mut builder.finish()).unwrap();
    };
    let ones = [1; PAGE];
    let record = |builder: &mut RecordBuilder, frame, allocated: &SlotMask, dirty: &SlotMask| {
        // SAFETY: `ones` has PAGE bytes, and nobody writes them.
        unsafe { builder.frame(ZONE, layout(), FrameIndex(frame), Some(allocated), dirty, ones.as_ptr()) };
    };
    append(&mut store, &|builder| builder.zone(ZONE, ZoneNumber(0x30), ZoneKind::Slots(layout())));
    (0..4).for_each(|frame| append(&mut store, &|builder| record(builder, frame, &all, &all)));
    assert!(store.stats().folds >= 2, "frame 0 is in the image, and in no segment");
    append(&mut store, &|builder| record(builder, 0, &SlotMask::EMPTY, &SlotMask::EMPTY));
    let folds = store.stats().folds;
    append(&mut store, &|builder| {
        record(builder, 0, &all, &SlotMask::EMPTY);
        // SAFETY: as above.
        unsafe { builder.suspects(ZONE, layout(), FrameIndex(0), &all, ones.as_ptr()) };
    });
    assert_eq!((store.stats().folds, store.stats().suspects), (folds, 64));
    drop(store);
    assert!(open(&disk).1.iter().all(|slots| *slots == [1; 64]));
}
