//! The contents: what each step does, to the heap and to a model of it, and the comparison of both.

use crate::memory::{mix, object, pattern, read, write};
use std::alloc::Layout;
use strewn::{Heap, PBox, PVec, Persist, Result};

const ROOT: &str = "desk";
/// So many that the desk is of the same size class as most objects: each lane of a class costs calls.
const RAW: usize = 116;
/// Of these, the ones that are used.
const RAW_USED: usize = 24;
const BOXES: usize = 4;
const NUMBERS_MAX: usize = 14;
/// Two size classes with few lanes, and page runs.
const SIZES: [usize; 6] = [990, 1000, 1000, 2000, 5000, 9000];

type Boxed = [u64; 125];
type Number = [u64; 32];

/// The root.
#[derive(Persist)]
struct Desk<'s> {
    step: u64,
    raw: [u64; RAW],
    numbers: PVec<'s, Number>,
    boxes: [Option<PBox<'s, Boxed>>; BOXES],
}

/// What one step does.
enum Change {
    Allocate(usize, usize),
    Rewrite(usize),
    Free(usize),
    Push,
    Clear,
    Box(usize),
}

/// What a heap holds after some steps.
#[derive(Clone, Default)]
pub struct Model {
    step: u64,
    /// Length and seed.
    raw: [Option<(usize, u64)>; RAW_USED],
    numbers: usize,
    /// The step that made it.
    boxes: [Option<u64>; BOXES],
}

fn number(i: usize) -> Number {
    [mix(3, i as u64); 32]
}

fn boxed(step: u64) -> Boxed {
    [mix(4, step); 125]
}

impl Model {
    /// After this many steps.
    pub fn at(step: u64) -> Self {
        let mut model = Self::default();
        while model.step < step {
            model.apply();
        }
        model
    }

    /// How many steps were done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// What the next step does.
    fn next(&self) -> Change {
        let draw = mix(11, self.step + 1);
        let raw = (draw >> 8) as usize % RAW_USED;
        match draw % 10 {
            0..6 => match self.raw[raw] {
                None => Change::Allocate(raw, SIZES[(draw >> 24) as usize % SIZES.len()]),
                Some(_) if (draw >> 16).is_multiple_of(3) => Change::Free(raw),
                Some(_) => Change::Rewrite(raw),
            },
            6..8 if self.numbers == NUMBERS_MAX => Change::Clear,
            6..8 => Change::Push,
            _ => Change::Box((draw >> 8) as usize % BOXES),
        }
    }

    fn apply(&mut self) {
        let change = self.next();
        self.step += 1;
        match change {
            Change::Allocate(i, len) => self.raw[i] = Some((len, self.step)),
            Change::Rewrite(i) => self.raw[i] = self.raw[i].map(|(len, _)| (len, self.step)),
            Change::Free(i) => self.raw[i] = None,
            Change::Push => self.numbers += 1,
            Change::Clear => self.numbers = 0,
            Change::Box(i) => self.boxes[i] = self.boxes[i].is_none().then_some(self.step),
        }
    }

    fn live(&self) -> u64 {
        let numbers = usize::from(self.numbers > 0);
        (1 + self.raw.iter().flatten().count() + numbers + self.boxes.iter().flatten().count()) as u64
    }
}

/// Does the next step, to the heap and to the model; to neither if it is refused.
pub fn advance(heap: &Heap, model: &mut Model) -> Result<()> {
    let section = heap.try_enter()?;
    let root = heap.root::<Desk>(ROOT, |section| {
        Ok(Desk { step: 0, raw: [0; RAW], numbers: PVec::new_in(section), boxes: [const { None }; BOXES] })
    })?;
    let mut desk = root.write(&section)?;
    let desk = &mut *desk;
    let step = model.step + 1;
    match model.next() {
        Change::Allocate(i, len) => {
            let layout = Layout::from_size_align(len, 8).expect("a small layout");
            desk.raw[i] = section.alloc(layout)?.as_ptr().expose_provenance() as u64;
            // SAFETY: just allocated, for this length.
            unsafe { write(desk.raw[i], &pattern(step, len)) };
        }
        Change::Rewrite(i) => {
            let (len, _) = model.raw[i].expect("it is rewritten because it is there");
            // SAFETY: a live object of this length; one thread at a time works on the desk.
            unsafe { write(desk.raw[i], &pattern(step, len)) };
        }
        // SAFETY: a live object, forgotten at once.
        Change::Free(i) => unsafe { section.dealloc(object(std::mem::take(&mut desk.raw[i]))) },
        Change::Push => desk.numbers.try_push(number(model.numbers))?,
        Change::Clear => desk.numbers = PVec::new_in(&section),
        Change::Box(i) => match desk.boxes[i].take() {
            Some(old) => drop(old),
            None => desk.boxes[i] = Some(PBox::try_new_in(boxed(step), &section)?),
        },
    }
    desk.step = step;
    model.apply();
    Ok(())
}

/// How many steps were done to `heap`.
///
/// # Errors
/// What the heap reports.
pub fn step(heap: &Heap) -> Result<u64> {
    let section = heap.try_enter()?;
    heap.find_root::<Desk>(ROOT)?.map_or(Ok(0), |root| Ok(root.read(&section)?.step))
}

/// Compares all contents: of a heap that is being worked on with its `model`; of one that was just opened with what its own number of steps
/// makes. Returns that number.
///
/// # Errors
/// What differs.
pub fn verify(heap: &Heap, model: Option<&Model>) -> std::result::Result<u64, String> {
    let section = heap.enter();
    let root = heap.find_root::<Desk>(ROOT).map_err(|e| e.to_string())?;
    let fresh = model.is_none();
    let Some(root) = root else {
        return compare("objects without a root", live(heap)?, 0).map(|()| 0);
    };
    let desk = root.read(&section).map_err(|e| e.to_string())?;
    let model = model.cloned().unwrap_or_else(|| Model::at(desk.step));
    let at = |what: &str| format!("{what} of step {}", model.step);
    compare("step", desk.step, model.step)?;
    for (i, (addr, expected)) in desk.raw.iter().zip(&model.raw).enumerate() {
        compare(&at(&format!("presence of object {i}")), *addr != 0, expected.is_some())?;
        let Some((len, seed)) = *expected else { continue };
        let usable = section.usable_bytes(object(*addr)).unwrap_or(0);
        compare(&at(&format!("room for object {i}")), usable >= len, true)?;
        // SAFETY: an object of the heap with room for as many bytes, and nobody writes.
        compare(&at(&format!("bytes of object {i}")), unsafe { read(*addr, len) } == pattern(seed, len), true)?;
    }
    let numbers = &desk.numbers;
    compare(&at("count of numbers"), numbers.len(), model.numbers)?;
    compare(&at("numbers"), numbers.iter().copied().eq((0..model.numbers).map(number)), true)?;
    for (i, (found, expected)) in desk.boxes.iter().zip(&model.boxes).enumerate() {
        compare(&at(&format!("presence of box {i}")), found.is_some(), expected.is_some())?;
        let same = found.as_ref().zip(*expected).is_none_or(|(found, step)| **found == boxed(step));
        compare(&at(&format!("contents of box {i}")), same, true)?;
    }
    if fresh {
        compare(&at("live objects"), live(heap)?, model.live())?;
    }
    Ok(model.step)
}

/// Live objects, asked for twice if the first answer is an error.
fn live(heap: &Heap) -> std::result::Result<u64, String> {
    let stats = heap.stats().or_else(|_| heap.stats());
    stats.map(|stats| stats.live_objects).map_err(|e| e.to_string())
}

fn compare<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> std::result::Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:?}, not {expected:?}")) }
}
