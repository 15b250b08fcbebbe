//! Every step of the ladder, by a policy that does what a script says, on real memory: whatever the script, no write is lost (D3), and what is counted is right.
//!
//! The test is the zone: it fills lane-blocks, writes to them, and makes cuts. It keeps what the records would hold, and compares that with memory after each.

mod random;
mod refused;
mod steps;
mod trouble;

use super::policy::{Eager, Policy, Room, Rung, Seen, Written};
use super::rungs::{Ladder, Site};
use super::{LadderStats, State};
use crate::arena::{Spot, lane_range, slot_address};
use crate::base::{BLOCK_FRAMES, FrameIndex, LaneBlock, LaneIndex, PAGE, Result, SlotIndex, SlotLayout, block_frames};
use crate::durable::Addressing;
use crate::sys::probe::{Feature, skip};
use crate::sys::scan::Pagemap;
use crate::sys::{self, WorkingMemory, ZoneMapping, fixtures, huge_lanes};
use crate::track::conformance::map_somewhere;
use crate::track::fixtures::{Failing, Fuses, NEVER};
use crate::track::{self, TrackerKind, WriteTracker};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

const SLOT_BYTES: usize = 64;
/// Bytes of the slots of a lane-block, and of a copy of them.
const LANE_BLOCK_BYTES: u64 = (SLOT_BYTES * BLOCK_FRAMES as usize) as u64;
const BLOCK_BYTES: u64 = BLOCK_FRAMES as u64 * PAGE as u64;

const COPY: Rung = Rung::Hot(Eager::Copy);
const COMPARE: Rung = Rung::Hot(Eager::Compare);
const RUNGS: [Rung; 5] = [Rung::Cold, Rung::Sparse, COPY, COMPARE, Rung::Hot(Eager::Count)];

/// What the policy answers, and what it was asked.
#[derive(Default)]
struct Script {
    /// Unless another answer is given for the lane-block. Cold at first.
    rung: Option<Rung>,
    rungs: BTreeMap<LaneBlock, Rung>,
    /// How many cold ones to make sparse, and which of them not.
    refine_cold: u32,
    kept_cold: BTreeSet<LaneBlock>,
    /// Whether sparse ones are filled.
    fills: bool,
    asked: Vec<(LaneBlock, Seen)>,
    cold: u64,
    epochs: u32,
}

struct Scripted(Arc<Mutex<Script>>);

impl Policy for Scripted {
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung {
        let mut script = self.0.lock().unwrap();
        script.asked.push((at, seen));
        script.rungs.get(&at).copied().or(script.rung).unwrap_or(Rung::Cold)
    }
    fn end_epoch(&mut self) {
        self.0.lock().unwrap().epochs += 1;
    }
    fn refine_cold(&mut self, cold: u64) -> u32 {
        let mut script = self.0.lock().unwrap();
        script.cold = cold;
        script.refine_cold
    }
    fn refines(&self, at: LaneBlock) -> bool {
        !self.0.lock().unwrap().kept_cold.contains(&at)
    }
    fn fills(&self) -> bool {
        self.0.lock().unwrap().fills
    }
    fn memory_bytes(&self) -> usize {
        0
    }
}

/// A zone without an allocator. The tracker goes first.
struct Lab {
    tracker: Failing,
    ladder: Ladder,
    script: Arc<Mutex<Script>>,
    fuses: Arc<Fuses>,
    layout: SlotLayout,
    lane_frames: Vec<u32>,
    taken: Vec<u64>,
    filling: Option<LaneBlock>,
    /// The first word of each slot that is taken, as recorded last; none if it is to be recorded.
    recorded: BTreeMap<(LaneBlock, u32), Option<u64>>,
    /// What was written last.
    value: u64,
    mapping: ZoneMapping,
    _memory: WorkingMemory,
}

/// Slots that a cut marked: frames of each lane-block, counted from its first.
type Marks = BTreeMap<LaneBlock, Vec<u32>>;

fn at(slot: u16, block: u32) -> LaneBlock {
    LaneBlock::new(SlotIndex(slot), block)
}

fn all() -> Vec<u32> {
    (0..BLOCK_FRAMES).collect()
}

fn huge_lanes_are_there() -> bool {
    if let Feature::Missing(why) = huge_lanes() {
        skip(&format!("lanes mapped by huge pages: {why}"));
    }
    huge_lanes().is_available()
}

impl Lab {
    /// A zone of `blocks` blocks, all of which are huge pages. None, said aloud, where there are no such.
    fn huge(blocks: u32) -> Option<Self> {
        if !huge_lanes_are_there() {
            return None;
        }
        let mut lab = Self::new(TrackerKind::Async, blocks * BLOCK_FRAMES, true)?;
        for block in 0..blocks {
            lab.collapse(block)?;
        }
        Some(lab)
    }

    /// A zone of `frames` frames of pages. Nothing in it has been handed out, as after the recovery of an empty one.
    fn new(kind: TrackerKind, frames: u32, coarse: bool) -> Option<Self> {
        let inner = track::open(kind).inspect_err(|e| skip(&e.to_string())).ok()?;
        let layout = SlotLayout::new(SLOT_BYTES as u16).unwrap();
        let memory = WorkingMemory::new().unwrap();
        let mapping = map_somewhere(&memory, layout.slots(), u64::from(frames));
        let fuses = Arc::<Fuses>::default();
        let script = Arc::<Mutex<Script>>::default();
        let mut ladder = Ladder::new(mapping.number(), layout, Box::new(Scripted(script.clone())), coarse);
        ladder.keep_no_sentinels();
        let tracker = Failing { inner, fuses: fuses.clone() };
        for slot in (0..layout.slots()).map(SlotIndex) {
            // SAFETY: the range is a mapped lane of the zone, which outlives the tracker.
            unsafe { tracker.track(lane_range(mapping.number(), LaneIndex(slot.0 + 1), 0..frames)).unwrap() };
            (0..frames.div_ceil(BLOCK_FRAMES)).for_each(|block| ladder.recover(LaneBlock::new(slot, block), true));
        }
        Some(Self {
            tracker,
            ladder,
            script,
            fuses,
            layout,
            lane_frames: vec![frames; usize::from(layout.slots()) + 1],
            taken: vec![0; frames as usize],
            filling: None,
            recorded: BTreeMap::new(),
            value: 0,
            mapping,
            _memory: memory,
        })
    }

    fn collapse(&mut self, block: u32) -> Option<()> {
        let dense = lane_range(self.mapping.number(), LaneIndex(0), block_frames(block));
        let collapsed = fixtures::collapse(&self.mapping, dense);
        self.ladder.set_huge(block, collapsed.is_some());
        collapsed
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// From now on the policy answers this.
    fn order(&self, rung: Rung) {
        self.script().rung = Some(rung);
    }

    fn order_for(&self, at: LaneBlock, rung: Rung) {
        self.script().rungs.insert(at, rung);
    }

    /// What the policy was told of `at` at the last cut, if it was asked.
    fn asked(&self, at: LaneBlock) -> Option<Seen> {
        self.script().asked.iter().find(|(of, _)| *of == at).map(|(_, seen)| *seen)
    }

    /// As the zone does when fresh slots are handed out.
    fn begin(&mut self, at: LaneBlock) {
        let range = self.range(at);
        self.mapping.map_backed(range.clone(), self.layout.byte_of(at.slot())).unwrap();
        if self.ladder.is_untracked(at) {
            // SAFETY: the range is a mapped lane of the zone, which outlives the tracker.
            unsafe { self.tracker.track(range).unwrap() };
        }
        self.ladder.begin(at);
    }

    /// Takes slots of `at`, and writes to each.
    fn take(&mut self, at: LaneBlock, places: impl IntoIterator<Item = u32>) {
        for place in places {
            let frame = at.frames().start + place;
            self.taken[frame as usize] |= 1 << at.slot().0;
            self.recorded.insert((at, place), None);
            self.write(at, [place]);
        }
    }

    fn free(&mut self, at: LaneBlock, places: impl IntoIterator<Item = u32>) {
        for place in places {
            let frame = at.frames().start + place;
            self.taken[frame as usize] &= !(1 << at.slot().0);
            self.recorded.remove(&(at, place)).expect("taken");
        }
    }

    /// Fills `at` with new slots.
    fn fill(&mut self, at: LaneBlock) {
        self.begin(at);
        self.take(at, 0..BLOCK_FRAMES);
    }

    /// Fills lane-blocks, lets the next cut put them on `rung`, and makes it.
    fn fill_to(&mut self, lane_blocks: &[LaneBlock], rung: Rung) {
        lane_blocks.iter().for_each(|at| self.fill(*at));
        self.order(rung);
        self.cut();
    }

    fn address(&self, at: LaneBlock, place: u32, how: Addressing) -> *mut u64 {
        let spot = Spot { frame: FrameIndex(at.frames().start + place), slot: at.slot() };
        sys::ptr(slot_address(self.mapping.number(), self.layout, how, spot)).cast()
    }

    /// Writes something new to slots of `at`.
    fn write(&mut self, at: LaneBlock, places: impl IntoIterator<Item = u32>) {
        for place in places {
            self.value += 1;
            // SAFETY: a slot of a mapped lane, that nobody refers to.
            unsafe { self.address(at, place, Addressing::Lanes).write_volatile(self.value) };
        }
    }

    /// Makes a cut. Returns what it marked; fails if it lost a write.
    fn cut(&mut self) -> Marks {
        self.try_cut().expect("no harvest fails")
    }

    fn try_cut(&mut self) -> Result<Marks> {
        let mut marks = BTreeSet::new();
        let mut mark = |slot, frames: Range<u32>| {
            let place = |frame| (LaneBlock::new(slot, frame / BLOCK_FRAMES), frame % BLOCK_FRAMES);
            marks.extend(frames.map(place));
        };
        self.script.lock().unwrap().asked.clear();
        let harvested = self.ladder.harvest(&self.tracker, &self.lane_frames, &mut mark);
        if harvested.is_ok() {
            let Self { ladder, mapping, tracker, taken, lane_frames, filling, .. } = self;
            ladder.climb(&Site { mapping, tracker, taken, lane_frames, filling: filling.as_slice() }, &mut mark);
        }
        // As in the ledger, what was found stays known, also if the rest failed.
        for slot in &marks {
            self.recorded.entry(*slot).and_modify(|recorded| *recorded = None);
        }
        harvested?;
        self.record();
        let mut by_lane_block = Marks::new();
        marks.into_iter().for_each(|(at, place)| by_lane_block.entry(at).or_default().push(place));
        Ok(by_lane_block)
    }

    /// D3: what is not to be recorded is what was recorded.
    fn record(&mut self) {
        let mut recorded = std::mem::take(&mut self.recorded);
        for ((at, place), recorded) in &mut recorded {
            // SAFETY: the same word, seen through the dense lane.
            let now = unsafe { self.address(*at, *place, Addressing::Dense).read_volatile() };
            assert_eq!(*recorded.get_or_insert(now), now, "D3: a write to slot {place} of {at:?} was lost");
        }
        self.recorded = recorded;
        let fresh = |at: LaneBlock| self.recorded.range((at, 0)..(at, BLOCK_FRAMES)).next().is_none();
        self.ladder.check(&self.lane_frames, fresh);
    }

    fn stats(&self) -> LadderStats {
        self.ladder.stats(&self.lane_frames)
    }

    /// How many lane-blocks are young, cold, sparse and hot.
    fn states(&self) -> [u64; 4] {
        let LadderStats { young, cold, sparse, hot, .. } = self.stats();
        [young, cold, sparse, hot]
    }

    /// How many bytes of the lane's view of `at` are mapped by a huge page.
    fn huge_bytes(&self, at: LaneBlock) -> u64 {
        Pagemap::open().unwrap().huge_bytes(self.range(at)).unwrap()
    }

    /// How many bytes of it are mapped at all.
    fn present_bytes(&self, at: LaneBlock) -> u64 {
        Pagemap::open().unwrap().present_bytes(self.range(at)).unwrap()
    }

    fn range(&self, at: LaneBlock) -> Range<u64> {
        let frames = at.frames().start..at.frames().end.min(self.taken.len() as u32);
        lane_range(self.mapping.number(), LaneIndex(at.slot().0 + 1), frames)
    }

    /// Gives the memory of a block back, as when its last slot was freed.
    fn vacate(&mut self, block: u32) {
        let frames = block_frames(block);
        self.recorded.retain(|(at, _), _| at.block() != block);
        self.taken[frames.start as usize..frames.end as usize].fill(0);
        self.mapping.punch(u64::from(block) * BLOCK_BYTES, BLOCK_BYTES).unwrap();
        let Self { ladder, mapping, tracker, taken, lane_frames, .. } = self;
        ladder.vacate(block, &Site { mapping, tracker, taken, lane_frames, filling: &[] });
    }
}

/// The state of a lane-block on `rung`.
fn state_on(rung: Rung) -> State {
    match rung {
        Rung::Cold => State::Cold,
        Rung::Sparse => State::Sparse,
        Rung::Hot(_) => State::Hot,
    }
}

/// One lane-block in that state, as [`Lab::states`] counts.
fn one(state: State) -> [u64; 4] {
    [State::Young, State::Cold, State::Sparse, State::Hot].map(|other| u64::from(other == state))
}

/// What a cut marks of a lane-block that was on `rung`, of which slots `written` were written.
fn marked_on(rung: Rung, written: &[u32]) -> Vec<u32> {
    match rung {
        COPY => all(),
        Rung::Cold if !written.is_empty() => all(),
        _ => written.to_vec(),
    }
}

/// What a policy is told of it.
fn told_on(rung: Rung, written: &[u32]) -> Written {
    match rung {
        Rung::Cold | COPY if !written.is_empty() => Written::Some,
        _ => Written::Exactly(written.len() as u16),
    }
}
