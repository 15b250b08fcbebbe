//! The shapes, the sides, and the operations: one source for volatile and persistent types.

use anyhow::Result;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use strewn::{Heap, PBox, PHashMap, PVec, Root, Section, Ticker, Writes};

/// Operations of one section.
const SECTION: usize = 10_000;

/// What a box holds.
pub type Object = [u64; 8];
/// The word that is read and updated.
const WORD: usize = 2;

type Boxes<'s> = PVec<'s, PBox<'s, Object>>;
type Array<'s> = PVec<'s, u64>;
type Map<'s> = PHashMap<'s, u64, u64>;

/// How elements are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Boxes of 64 B.
    Boxes,
    /// Numbers in an array.
    Array,
    /// Numbers by number.
    Map,
}

/// All of them.
pub const SHAPES: [Shape; 3] = [Shape::Boxes, Shape::Array, Shape::Map];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Elements at random.
    Read,
    /// All elements in order.
    Iterate,
    /// A word of elements at random.
    Update,
    /// New elements.
    Insert,
    /// The same ones.
    Remove,
}

/// What is measured together: what one inserts, the next removes.
pub const OPERATIONS: [&[Operation]; 4] =
    [&[Operation::Read], &[Operation::Iterate], &[Operation::Update], &[Operation::Insert, Operation::Remove]];

impl Shape {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Boxes => "PBox / Box",
            Shape::Array => "PVec / Vec",
            Shape::Map => "PHashMap / hashbrown",
        }
    }
}

impl Operation {
    /// As tables say it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Iterate => "iterate",
            Operation::Update => "update",
            Operation::Insert => "insert",
            Operation::Remove => "remove",
        }
    }
}

/// Does `$operation` with `$keys` to boxes in an array; `$new` makes a box.
macro_rules! work_boxes {
    ($boxes:expr, $operation:expr, $keys:expr, $new:expr) => {{
        let (boxes, mut sum) = ($boxes, 0_u64);
        match $operation {
            Operation::Read => {
                let boxes = &*boxes;
                $keys.iter().for_each(|key| sum = sum.wrapping_add(boxes[*key as usize][WORD]));
            }
            Operation::Iterate => boxes.iter().for_each(|one| sum = sum.wrapping_add(one[WORD])),
            Operation::Update => {
                let boxes = &mut boxes[..];
                $keys.iter().for_each(|key| boxes[*key as usize][WORD] += 1);
            }
            Operation::Insert => $keys.iter().for_each(|key| boxes.push($new([u64::from(*key); 8]))),
            Operation::Remove => $keys.iter().for_each(|_| drop(boxes.pop())),
        }
        black_box(sum);
    }};
}

/// The same for numbers in an array.
macro_rules! work_array {
    ($array:expr, $operation:expr, $keys:expr) => {{
        let (array, mut sum) = ($array, 0_u64);
        match $operation {
            Operation::Read => $keys.iter().for_each(|key| sum = sum.wrapping_add(array[*key as usize])),
            Operation::Iterate => sum = array.iter().fold(0, |sum, n| sum.wrapping_add(*n)),
            Operation::Update => $keys.iter().for_each(|key| array[*key as usize] += 1),
            Operation::Insert => $keys.iter().for_each(|key| array.push(u64::from(*key))),
            Operation::Remove => $keys.iter().for_each(|_| sum += array.pop().unwrap_or(0)),
        }
        black_box(sum);
    }};
}

/// The same for numbers by number. New keys are beyond the old ones, which are below `$elements`.
macro_rules! work_map {
    ($map:expr, $operation:expr, $keys:expr, $elements:expr) => {{
        let (map, mut sum) = ($map, 0_u64);
        match $operation {
            Operation::Read => $keys.iter().for_each(|key| sum = sum.wrapping_add(map[&u64::from(*key)])),
            Operation::Iterate => sum = map.values().fold(0, |sum, n| sum.wrapping_add(*n)),
            Operation::Update => {
                $keys.iter().for_each(|key| *map.get_mut(&u64::from(*key)).expect("there from the start") += 1);
            }
            Operation::Insert => {
                $keys.iter().for_each(|key| sum += map.insert($elements + u64::from(*key), 1).unwrap_or(0))
            }
            Operation::Remove => {
                $keys.iter().for_each(|key| sum += map.remove(&($elements + u64::from(*key))).unwrap_or(0))
            }
        }
        black_box(sum);
    }};
}

/// Elements in volatile memory.
pub enum Volatile {
    /// `Vec<Box>`.
    #[allow(clippy::vec_box, reason = "boxes are what is measured")]
    Boxes(Vec<Box<Object>>),
    /// `Vec`.
    Array(Vec<u64>),
    /// hashbrown.
    Map(hashbrown::HashMap<u64, u64>),
}

/// One side.
pub struct Side {
    shape: Shape,
    elements: usize,
    volatile: Option<Volatile>,
    heap: Option<Heap>,
}

impl Side {
    /// In volatile memory.
    pub fn volatile(shape: Shape, elements: usize) -> Self {
        let numbers = 0..elements as u64;
        let volatile = match shape {
            Shape::Boxes => Volatile::Boxes(numbers.map(|n| Box::new([n; 8])).collect()),
            Shape::Array => Volatile::Array(numbers.collect()),
            Shape::Map => Volatile::Map(numbers.map(|n| (n, n)).collect()),
        };
        Self { shape, elements, volatile: Some(volatile), heap: None }
    }

    /// In a heap at `path`.
    pub fn heap(path: &Path, writes: Writes, shape: Shape, elements: usize) -> Result<Self> {
        let heap = Heap::options().writes(writes).create(path)?;
        let side = Self { shape, elements, volatile: None, heap: Some(heap) };
        let heap = side.heap.as_ref().expect("just made");
        for from in (0..elements).step_by(SECTION) {
            let keys: Vec<u32> = (from as u32..elements.min(from + SECTION) as u32).collect();
            let section = heap.enter();
            match shape {
                Shape::Boxes => boxes(heap)?
                    .write(&section)?
                    .extend(keys.iter().map(|n| PBox::new_in([u64::from(*n); 8], &section))),
                Shape::Array => array(heap)?.write(&section)?.extend(keys.iter().map(|n| u64::from(*n))),
                Shape::Map => map(heap)?.write(&section)?.extend(keys.iter().map(|n| (u64::from(*n), u64::from(*n)))),
            }
        }
        Ok(side)
    }

    /// The heap, if it is in one.
    pub fn heap_of(&self) -> Option<&Heap> {
        self.heap.as_ref()
    }

    /// Makes a checkpoint, if it is in a heap.
    pub fn checkpoint(&self) -> Result<()> {
        if let Some(heap) = &self.heap {
            heap.checkpoint()?;
        }
        Ok(())
    }

    /// Nanoseconds an operation; with a checkpoint every `pace` meanwhile, again and again for two and a half times as long.
    pub fn round(&mut self, operation: Operation, keys: &[u32], pace: Option<Duration>) -> Result<f64> {
        let count = if operation == Operation::Iterate { self.elements } else { keys.len() };
        let ticker = match (&self.heap, pace) {
            (Some(heap), Some(pace)) => Some(heap.checkpoint_every(pace)?),
            _ => None,
        };
        let (begin, mut times) = (Instant::now(), 0);
        loop {
            match (&mut self.volatile, &self.heap) {
                (Some(volatile), _) => in_sections(operation, keys, |keys| {
                    volatile.work(operation, keys, self.elements as u64);
                    Ok(())
                })?,
                (None, Some(heap)) => work(heap, self.shape, self.elements, operation, keys)?,
                (None, None) => unreachable!("one of the two is there"),
            }
            times += 1;
            if pace.is_none_or(|pace| begin.elapsed() > pace * 5 / 2) {
                break;
            }
        }
        let ns = begin.elapsed().as_nanos() as f64 / (count * times) as f64;
        ticker.map(Ticker::stop).transpose()?;
        Ok(ns)
    }
}

/// Does `operation` in a heap.
fn work(heap: &Heap, shape: Shape, elements: usize, operation: Operation, keys: &[u32]) -> Result<()> {
    match shape {
        Shape::Boxes => {
            let root = boxes(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                let new = |object| PBox::new_in(object, &section);
                work_boxes!(&mut *root.write(&section)?, operation, keys, new);
                Ok(())
            })
        }
        Shape::Array => {
            let root = array(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                work_array!(&mut *root.write(&section)?, operation, keys);
                Ok(())
            })
        }
        Shape::Map => {
            let root = map(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                work_map!(&mut *root.write(&section)?, operation, keys, elements as u64);
                Ok(())
            })
        }
    }
}

impl Volatile {
    fn work(&mut self, operation: Operation, keys: &[u32], elements: u64) {
        match self {
            Volatile::Boxes(boxes) => work_boxes!(boxes, operation, keys, Box::new),
            Volatile::Array(array) => work_array!(array, operation, keys),
            Volatile::Map(map) => work_map!(map, operation, keys, elements),
        }
    }
}

/// Calls `work` with the keys of each section. Iterating is one.
fn in_sections(operation: Operation, keys: &[u32], mut work: impl FnMut(&[u32]) -> Result<()>) -> Result<()> {
    match operation {
        Operation::Iterate => work(&[]),
        _ => keys.chunks(SECTION).try_for_each(work),
    }
}

/// The root of a heap of boxes.
pub fn boxes(heap: &Heap) -> Result<Root<'_, Boxes<'static>>> {
    Ok(heap.root("elements", |section: &Section<'_>| Ok(PVec::new_in(section)))?)
}

fn array(heap: &Heap) -> Result<Root<'_, Array<'static>>> {
    Ok(heap.root("elements", |section: &Section<'_>| Ok(PVec::new_in(section)))?)
}

fn map(heap: &Heap) -> Result<Root<'_, Map<'static>>> {
    Ok(heap.root("elements", |section: &Section<'_>| Ok(PHashMap::new_in(section)))?)
}
