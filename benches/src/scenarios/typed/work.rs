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

/// The operations on elements in a `$container`, each a function of its own: in one of all of them the compiler runs out of registers, and loops cost more than what is measured in them.
macro_rules! operations {
    ($name:ident: $container:ty, |$all:ident, $keys:ident, $elements:ident|,
        read $read:expr, iterate $iterate:expr, update $update:expr, remove $remove:expr) => {
        #[allow(clippy::ptr_arg, reason = "one source for all containers")]
        mod $name {
            use super::*;
            #[inline(never)]
            fn read($all: &$container, $keys: &[u32]) -> u64 {
                $read
            }
            #[inline(never)]
            fn iterate($all: &$container) -> u64 {
                $iterate
            }
            #[inline(never)]
            fn update($all: &mut $container, $keys: &[u32]) -> u64 {
                $update
            }
            #[inline(never)]
            fn remove($all: &mut $container, $keys: &[u32], $elements: u64) -> u64 {
                $remove
            }
            /// Does `operation`, but for inserting.
            pub fn work(all: &mut $container, operation: Operation, keys: &[u32], elements: u64) -> u64 {
                match operation {
                    Operation::Read => read(all, keys),
                    Operation::Iterate => iterate(all),
                    Operation::Update => update(all, keys),
                    Operation::Remove => remove(all, keys, elements),
                    Operation::Insert => unreachable!("the caller inserts"),
                }
            }
        }
    };
}

/// Boxes in an array.
macro_rules! boxes_in {
    ($name:ident: $container:ty) => {
        operations! {
            $name: $container, |boxes, keys, _elements|,
            read keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(boxes[*key as usize][WORD])),
            iterate boxes.iter().fold(0, |sum: u64, one| sum.wrapping_add(one[WORD])),
            update {
                let boxes = &mut boxes[..];
                keys.iter().for_each(|key| boxes[*key as usize][WORD] += 1);
                0
            },
            remove {
                keys.iter().for_each(|_| drop(boxes.pop()));
                0
            }
        }
    };
}

/// Numbers in an array.
macro_rules! numbers_in {
    ($name:ident: $container:ty) => {
        operations! {
            $name: $container, |array, keys, _elements|,
            read keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(array[*key as usize])),
            iterate array.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n)),
            update {
                keys.iter().for_each(|key| array[*key as usize] += 1);
                0
            },
            remove keys.iter().fold(0, |sum, _| sum + array.pop().unwrap_or(0))
        }
    };
}

/// Numbers by number. New keys are beyond the old ones, which are below the number of elements.
macro_rules! map_in {
    ($name:ident: $container:ty) => {
        operations! {
            $name: $container, |map, keys, elements|,
            read keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(map[&u64::from(*key)])),
            iterate map.values().fold(0, |sum: u64, n| sum.wrapping_add(*n)),
            update {
                keys.iter().for_each(|key| *map.get_mut(&u64::from(*key)).expect("there from the start") += 1);
                0
            },
            remove keys.iter().fold(0, |sum, key| sum + map.remove(&(elements + u64::from(*key))).unwrap_or(0))
        }
    };
}

#[allow(clippy::vec_box, reason = "boxes are what is measured")]
type VolatileBoxes = Vec<Box<Object>>;
type VolatileMap = hashbrown::HashMap<u64, u64>;

boxes_in!(volatile_boxes: VolatileBoxes);
boxes_in!(boxes_in_heap: Boxes<'_>);
numbers_in!(volatile_array: Vec<u64>);
numbers_in!(array_in_heap: Array<'_>);
map_in!(volatile_map: VolatileMap);
map_in!(map_in_heap: Map<'_>);

/// Elements in volatile memory.
pub enum Volatile {
    /// `Vec<Box>`.
    Boxes(VolatileBoxes),
    /// `Vec`.
    Array(Vec<u64>),
    /// hashbrown.
    Map(VolatileMap),
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
    let elements = elements as u64;
    let inserts = operation == Operation::Insert;
    match shape {
        Shape::Boxes => {
            let root = boxes(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                let mut boxes = root.write(&section)?;
                let new = |key: &u32| PBox::new_in([u64::from(*key); 8], &section);
                black_box(match inserts {
                    true => keys.iter().fold(0, |_, key| (boxes.push(new(key)), 0).1),
                    false => boxes_in_heap::work(&mut boxes, operation, keys, elements),
                });
                Ok(())
            })
        }
        Shape::Array => {
            let root = array(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                let mut array = root.write(&section)?;
                black_box(match inserts {
                    true => keys.iter().fold(0, |_, key| (array.push(u64::from(*key)), 0).1),
                    false => array_in_heap::work(&mut array, operation, keys, elements),
                });
                Ok(())
            })
        }
        Shape::Map => {
            let root = map(heap)?;
            in_sections(operation, keys, |keys| {
                let section = heap.enter();
                let mut map = root.write(&section)?;
                let mut insert = |key: &u32| map.insert(elements + u64::from(*key), 1).unwrap_or(0);
                black_box(match inserts {
                    true => keys.iter().fold(0, |sum, key| sum + insert(key)),
                    false => map_in_heap::work(&mut map, operation, keys, elements),
                });
                Ok(())
            })
        }
    }
}

impl Volatile {
    fn work(&mut self, operation: Operation, keys: &[u32], elements: u64) {
        let inserts = operation == Operation::Insert;
        black_box(match self {
            Volatile::Boxes(boxes) if inserts => {
                keys.iter().fold(0, |_, key| (boxes.push(Box::new([u64::from(*key); 8])), 0).1)
            }
            Volatile::Array(array) if inserts => keys.iter().fold(0, |_, key| (array.push(u64::from(*key)), 0).1),
            Volatile::Map(map) if inserts => {
                keys.iter().fold(0, |sum, key| sum + map.insert(elements + u64::from(*key), 1).unwrap_or(0))
            }
            Volatile::Boxes(boxes) => volatile_boxes::work(boxes, operation, keys, elements),
            Volatile::Array(array) => volatile_array::work(array, operation, keys, elements),
            Volatile::Map(map) => volatile_map::work(map, operation, keys, elements),
        });
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
