//! The model: what a heap must hold after each epoch; and random changes to it, as a record and as itself.

use crate::sim::{Coins, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use strewn::Result;
use strewn::testing::{
    Addressing, Epoch, FrameIndex, LogStore, PAGE, Record, RecordBuilder, Recovered, RootEntry, SlotIndex, SlotLayout,
    SlotMask, StoreOptions, ZoneIndex, ZoneKind, ZoneNumber,
};

/// What is in a heap, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// By index.
    pub zones: Vec<ModelZone>,
    /// In order.
    pub roots: Vec<RootEntry>,
}

/// One zone of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelZone {
    number: ZoneNumber,
    kind: ZoneKind,
    /// Frames with an allocated slot.
    frames: BTreeMap<u32, (SlotMask, Vec<u8>)>,
    runs: BTreeMap<u32, u32>,
    /// Pages of runs that are not zeros.
    pages: BTreeMap<u32, Vec<u8>>,
}

/// Small, so that few records are enough for a fold.
pub const OPTIONS: StoreOptions = StoreOptions { heap_id: [7; 16], addressing: Addressing::Lanes, log_bytes: 3000 };

/// Where the heap is that the suites of the store look at.
pub fn path() -> &'static Path {
    Path::new("/sim/a.heap")
}

/// A new heap on `disk`.
///
/// # Errors
/// What the store reports.
pub fn create(disk: &Arc<SimDisk>, options: &StoreOptions) -> Result<LogStore> {
    LogStore::create(&disk.place(), path(), options)
}

/// Opens and loads: the store, its last epoch, and what it holds.
///
/// # Errors
/// What the store reports.
pub fn open(disk: &Arc<SimDisk>) -> Result<(LogStore, Epoch, Model)> {
    let (mut store, recovered) = LogStore::open(&disk.place(), path())?;
    let model = load(&mut store, &recovered)?;
    Ok((store, recovered.epoch, model))
}

/// Closes `store`, which may fail, or drops it.
pub fn end(store: LogStore, coins: &mut Coins) {
    match coins.below(3) {
        0 => drop(store.close()),
        _ => drop(store),
    }
}

/// Loads a store into a model.
///
/// # Errors
/// What the store reports.
///
/// # Panics
/// If it delivers what it must not.
pub fn load(store: &mut LogStore, recovered: &Recovered) -> Result<Model> {
    let mut model = Model { zones: Vec::new(), roots: recovered.catalog.roots.clone() };
    for zone in &recovered.catalog.zones {
        let used = (0..zone.frames).map(|f| (f, zone.mask(FrameIndex(f)))).filter(|(_, mask)| !mask.is_empty());
        let frames = used.map(|(f, mask)| (f, (mask, vec![0xEE; PAGE]))).collect();
        let (number, kind, runs) = (zone.number, zone.kind, zone.runs.clone());
        model.zones.push(ModelZone { number, kind, frames, runs, pages: BTreeMap::new() });
    }
    let mut last = (0, 0);
    store.load(&mut |index, offset, bytes| {
        assert!((index.index(), offset) >= last, "delivered out of order");
        assert!(bytes.len().is_multiple_of(PAGE) && offset.is_multiple_of(PAGE as u64));
        last = (index.index(), offset + bytes.len() as u64);
        let zone = &mut model.zones[index.index()];
        for (page, bytes) in (offset as u32 / PAGE as u32..).zip(bytes.chunks(PAGE)) {
            if zone.kind != ZoneKind::Runs {
                zone.frames.get_mut(&page).expect("only frames in use are delivered").1 = bytes.to_vec();
            } else if bytes.iter().any(|b| *b != 0) {
                zone.pages.insert(page, bytes.to_vec());
            }
        }
        Ok(())
    })?;
    Ok(model)
}

impl Model {
    /// Changes the model at random, and returns the record that does the same to a heap.
    pub fn change(&mut self, coins: &mut Coins) -> Record {
        let mut builder = RecordBuilder::new(Vec::new());
        if self.zones.is_empty() || self.zones.len() < 5 && coins.below(6) == 0 {
            self.add_zone(coins, &mut builder);
        }
        let mut touched = BTreeSet::new();
        for _ in 0..coins.below(6) {
            let index = coins.below(self.zones.len() as u64) as usize;
            let zone = &mut self.zones[index];
            match zone.kind {
                ZoneKind::Slots(layout) => {
                    zone.change_frame(ZoneIndex(index as u16), layout, coins, &mut builder, &mut touched);
                }
                ZoneKind::Runs => zone.change_runs(ZoneIndex(index as u16), coins, &mut builder),
            }
        }
        if coins.below(8) == 0 {
            let name = format!("root {}", coins.below(100));
            let root = RootEntry { name, type_name: "T".into(), size: 8, align: 8, addr: coins.next() };
            self.roots.push(root);
            builder.roots(&self.roots);
        }
        builder.finish()
    }

    fn add_zone(&mut self, coins: &mut Coins, builder: &mut RecordBuilder) {
        let kind = match coins.below(3) {
            0 => ZoneKind::Runs,
            _ => ZoneKind::Slots(SlotLayout::new([16, 48, 64, 1024, 2048][coins.below(5) as usize]).unwrap()),
        };
        let (index, number) = (ZoneIndex(self.zones.len() as u16), ZoneNumber(0x30 + self.zones.len() as u16));
        builder.zone(index, number, kind);
        let (frames, runs, pages) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        self.zones.push(ModelZone { number, kind, frames, runs, pages });
    }
}

impl ModelZone {
    fn change_frame(
        &mut self,
        zone: ZoneIndex,
        layout: SlotLayout,
        coins: &mut Coins,
        builder: &mut RecordBuilder,
        touched_before: &mut BTreeSet<(ZoneIndex, u32)>,
    ) {
        // Some frames again and again, and some far away.
        let near = [4, 20][coins.below(2) as usize];
        let frame = coins.below(near) as u32 * if coins.one_in(4) { 11 } else { 1 };
        let (old, mut bytes) = self.frames.remove(&frame).unwrap_or((SlotMask::EMPTY, vec![0; PAGE]));
        let all = SlotMask::first(layout.slots());
        let some = |coins: &mut Coins| match coins.below(4) {
            0 => all,
            1 => SlotMask::from_iter([SlotIndex(coins.below(layout.slots().into()) as u16)]),
            _ => SlotMask::from_words(&[coins.next(), coins.next(), coins.next(), coins.next()]).and(&all),
        };
        let new = match coins.below(6) {
            0 => SlotMask::EMPTY,
            1 => old.minus(&some(coins)),
            2 | 3 if !old.is_empty() => old,
            _ => old.or(&some(coins)),
        };
        let dirty = new.minus(&old).or(&some(coins).and(&new));
        let allocated = (new != old || coins.below(4) == 0).then_some(&new);
        if new.is_empty() && allocated.is_none() {
            return;
        }
        let whole = coins.below(8) == 0;
        // Slots that may have changed, and those of them that have.
        let first = touched_before.insert((zone, frame));
        let suspects = if whole || !first { SlotMask::EMPTY } else { old.and(&new).minus(&dirty).and(&some(coins)) };
        let changed = suspects.and(&some(coins));
        let touched = if whole { all } else { dirty.or(&changed) };
        for slot in touched.iter() {
            // Few values, so that a slot often is again what it was at some time before.
            let value = if coins.one_in(2) { coins.below(2) } else { coins.next() };
            bytes[layout.byte_of(slot)..][..layout.slot_bytes()].fill(value as u8);
        }
        // SAFETY: `bytes` has PAGE bytes, and nobody else knows them.
        unsafe {
            if whole {
                builder.whole_frame(zone, layout, FrameIndex(frame), allocated, bytes.as_ptr());
            } else if allocated.is_some() || !dirty.is_empty() {
                builder.frame(zone, layout, FrameIndex(frame), allocated, &dirty, bytes.as_ptr());
            }
            if !suspects.is_empty() {
                builder.suspects(zone, layout, FrameIndex(frame), &suspects, bytes.as_ptr());
            }
        }
        if !new.is_empty() {
            self.frames.insert(frame, (new, bytes));
        }
    }

    fn change_runs(&mut self, zone: ZoneIndex, coins: &mut Coins, builder: &mut RecordBuilder) {
        let first = coins.below(24) as u32;
        match self.runs.range(..=first).next_back().map(|(f, p)| (*f, *p)).filter(|(f, p)| first - f < *p) {
            None => {
                let free = self.runs.range(first..).next().map_or(8, |(next, _)| (next - first).min(8));
                let pages = coins.below(u64::from(free)) as u32 + 1;
                self.runs.insert(first, pages);
                builder.run_allocated(zone, FrameIndex(first), pages);
                self.fill(zone, first, pages, coins, builder);
            }
            Some((start, pages)) if coins.below(3) == 0 => {
                let from = if coins.below(2) == 0 { start } else { first };
                let count = if coins.below(2) == 0 { start + pages - from } else { 1 };
                self.runs.remove(&start);
                builder.run_freed(zone, FrameIndex(from), count);
                for (first, end) in [(start, from), (from + count, start + pages)] {
                    if first < end {
                        self.runs.insert(first, end - first);
                    }
                }
                (from..from + count).for_each(|page| drop(self.pages.remove(&page)));
            }
            Some((start, pages)) => self.fill(zone, first, start + pages - first, coins, builder),
        }
    }

    fn fill(&mut self, zone: ZoneIndex, first: u32, pages: u32, coins: &mut Coins, builder: &mut RecordBuilder) {
        let pages = coins.below(u64::from(pages)) as u32 + 1;
        if coins.below(4) == 0 {
            builder.zero_pages(zone, FrameIndex(first), pages);
            (first..first + pages).for_each(|page| drop(self.pages.remove(&page)));
            return;
        }
        let bytes: Vec<u8> = (0..pages as usize * PAGE / 512).flat_map(|_| [coins.next() as u8; 512]).collect();
        // SAFETY: `bytes` has `pages` pages, and nobody else knows them.
        unsafe { builder.pages(zone, FrameIndex(first), pages, bytes.as_ptr()) };
        for (page, bytes) in (first..).zip(bytes.chunks(PAGE)) {
            self.pages.remove(&page);
            if bytes.iter().any(|b| *b != 0) {
                self.pages.insert(page, bytes.to_vec());
            }
        }
    }
}
