//! [`Table`]: a hashbrown table in a heap, or none. What of hashbrown may lie in a heap, and how it is looked at without trusting it.
//!
//! - H1. A table of hashbrown without memory points to a static of the program. So none lies in a heap: `table` is one exactly if `tag` is 0, and that one has memory. Such
//!   a table exists on the stack only, in [`Table::try_reserve`] before its first allocation, where nothing can panic in between, and an error drops it.
//! - H2. Of hashbrown's methods that replace the memory of a table in place, these are called: `try_reserve`, which builds the new memory aside and swaps it in when it is
//!   complete (`resize_inner`: a panic of the hasher frees the new memory and leaves the old), or moves values within the memory (`rehash_in_place`: after a panic of the hasher the
//!   values whose place is not known are dropped, and the table counts the others). `entry`-like methods and `insert_unique` are called when there is room, and reserve nothing. Not
//!   called are: `drain` and `into_iter` in place (they leave a table without memory behind when they are leaked), `shrink_to` (a table without memory if it is
//!   empty; aborts if the heap is full), `clone_from` (the same), and `reserve` (aborts if the heap is full). Removals,
//!   `retain` and `clear` keep the memory: the first two change control bytes before the value is dropped, the last in a guard that a panic of a destructor runs too.
//! - H3. No cut is on while a method runs (Y1), and what a panic leaves is a table that H1 holds for: so no checkpoint has anything else.
//! - H4. hashbrown writes through the pointer that it stores, the address of the object itself: page protection catches it, in heaps with a write barrier too.

use crate::base::{Error, ErrorKind, Result};
use crate::typed::heap_alloc::{Tagged, take_refusal};
use crate::typed::{Persist, Walker};
use allocator_api2::alloc::{AllocError, Allocator, Global};
use hashbrown::{HashTable, TryReserveError};
use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// The version that the workspace asks for.
const HASHBROWN: &str = "0.17.1";
const EMPTY: u8 = 0xFF;
const DELETED: u8 = 0x80;

/// A hashbrown table with memory in a heap, or none.
#[repr(C)]
pub struct Table<T> {
    /// The tag of the heap (Y2) while there is no table, else 0. (H1)
    tag: u64,
    /// Zeroed while there is none.
    table: MaybeUninit<HashTable<T, Tagged>>,
}

impl<T> Table<T> {
    const SOUND: () = {
        assert!(size_of::<T>() > 0, "a table of values without a size");
        assert!(size_of::<HashTable<T, Tagged>>() == size_of::<[usize; WORDS]>());
        assert!(align_of::<HashTable<T, Tagged>>() == align_of::<usize>());
    };

    /// None, in the heap with this tag.
    pub fn new(tag: u64) -> Self {
        let () = Self::SOUND;
        debug_assert_ne!(tag, 0, "heaps have tags that are not 0");
        Self { tag, table: MaybeUninit::zeroed() }
    }

    /// The tag of its heap.
    pub fn heap_tag(&self) -> u64 {
        self.get().map_or(self.tag, |table| table.allocator().tag)
    }

    /// The table.
    #[inline]
    pub fn get(&self) -> Option<&HashTable<T, Tagged>> {
        // SAFETY: a tag of 0 says that there is one (H1).
        (self.tag == 0).then(|| unsafe { self.table.assume_init_ref() })
    }

    /// The table, to change it. Of its methods only those that H2 allows may be called.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut HashTable<T, Tagged>> {
        // SAFETY: as in `get`.
        (self.tag == 0).then(|| unsafe { self.table.assume_init_mut() })
    }

    /// Takes the table out.
    pub fn take(&mut self) -> Option<HashTable<T, Tagged>> {
        if self.tag != 0 {
            return None;
        }
        // SAFETY: as in `get`; from the next line on there is none.
        let table = unsafe { self.table.assume_init_read() };
        self.tag = table.allocator().tag;
        // So that the same operations leave the same bytes.
        self.table = MaybeUninit::zeroed();
        Some(table)
    }

    /// Makes room for `more` values beyond those that are there.
    #[inline]
    pub fn try_reserve(&mut self, more: usize, hasher: impl Fn(&T) -> u64) -> Result<()> {
        match self.get_mut() {
            Some(table) => table.try_reserve(more, hasher).map_err(refused::<T>),
            None if more == 0 => Ok(()),
            None => self.begin(more),
        }
    }

    #[cold]
    fn begin(&mut self, room: usize) -> Result<()> {
        let table = Self::with_room(self.tag, room)?;
        debug_assert!(Shape::of_tables().describes(&table), "tables of all types are of one shape");
        self.table.write(table);
        self.tag = 0;
        Ok(())
    }

    /// A table with memory, for `room` values, at least 1.
    fn with_room(tag: u64, room: usize) -> Result<HashTable<T, Tagged>> {
        let mut table = HashTable::new_in(Tagged { tag });
        table.try_reserve(room.max(1), |_| unreachable!("it holds no value")).map_err(refused::<T>)?;
        Ok(table)
    }

    /// Puts `value`, which is not there yet, into the table.
    #[inline]
    pub fn try_insert(&mut self, hash: u64, value: T, hasher: impl Fn(&T) -> u64) -> Result<&mut T> {
        self.try_reserve(1, &hasher)?;
        let table = self.get_mut().expect("there is room in it");
        Ok(table.insert_unique(hash, value, hasher).into_mut())
    }

    /// Moves the values to a smaller table that has room for `room`, or gives the table back if that is 0 and there is no value.
    pub fn try_shrink_to(&mut self, room: usize, hasher: impl Fn(&T) -> u64) -> Result<()> {
        let Some(table) = self.get() else { return Ok(()) };
        let room = room.max(table.len());
        if room == 0 {
            drop(self.take());
            return Ok(());
        }
        // All that can panic or fail comes first.
        let hashes: Vec<u64> = table.iter().map(hasher).collect();
        let mut smaller = Self::with_room(table.allocator().tag, room)?;
        if smaller.num_buckets() < table.num_buckets() {
            let old = self.take().expect("it was just looked at");
            for (value, hash) in old.into_iter().zip(hashes) {
                smaller.insert_unique(hash, value, |_| unreachable!("there is room for all"));
            }
            self.table.write(smaller);
            self.tag = 0;
        }
        Ok(())
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        if self.tag == 0 {
            // SAFETY: as in `get`; nobody looks at it after this.
            unsafe { self.table.assume_init_drop() };
        }
    }
}

/// Why there is no room.
#[cold]
fn refused<T>(e: TryReserveError) -> Error {
    let why = match e {
        TryReserveError::AllocError { .. } => take_refusal(),
        TryReserveError::CapacityOverflow => None,
    };
    why.unwrap_or_else(|| {
        let what = format!("a table of {} cannot be that large", std::any::type_name::<T>());
        Error::new(ErrorKind::InvalidArgument, what)
    })
}

const WORDS: usize = 5;
const PROBE_TAG: u64 = 0x7A67_7A67_7A67_7A67;

/// Where hashbrown, as it was compiled into this program, keeps what: in its value of five words, and in the memory of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub ctrl: usize,
    pub mask: usize,
    pub room: usize,
    pub items: usize,
    pub tag: usize,
    /// How many control bytes it looks at in one step.
    pub group: usize,
}

/// The size of [`Tagged`], in the memory of the program.
struct Probe {
    /// Found among the words.
    #[allow(dead_code, reason = "read as a word")]
    tag: u64,
}

// SAFETY: the global allocator is one.
unsafe impl Allocator for Probe {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Global.allocate(layout)
    }

    unsafe fn deallocate(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { Global.deallocate(object, layout) };
    }
}

impl Shape {
    /// That of all tables. Found by looking at one: hashbrown does not tell, and the compiler chooses the order of fields.
    pub fn of_tables() -> Self {
        static SHAPE: OnceLock<Shape> = OnceLock::new();
        *SHAPE.get_or_init(|| {
            // Four buckets, room for three values, two of which are there: all five words differ.
            let mut table = HashTable::<u64, Probe>::with_capacity_in(3, Probe { tag: PROBE_TAG });
            table.insert_unique(0, 0, |i| *i);
            table.insert_unique(1, 1, |i| *i);
            let words = words_of(&table);
            let place = |wanted: u64| words.iter().position(|word| *word as u64 == wanted).expect("hashbrown 0.17");
            let (mask, room, items, tag) = (place(3), place(1), place(2), place(PROBE_TAG));
            let ctrl = (0..WORDS).sum::<usize>() - mask - room - items - tag;
            Self { ctrl, mask, room, items, tag, group: table.allocation_size() - 4 * size_of::<u64>() - 4 }
        })
    }

    /// As it is described in the schema: the version of hashbrown, its groups, and the order of its words.
    pub fn describe(&self) -> String {
        let Self { ctrl, mask, room, items, tag, group } = self;
        format!("hashbrown-{HASHBROWN}/groups-of-{group}/words-{ctrl}{mask}{room}{items}{tag}")
    }

    /// Whether `table`, which has memory, is of this shape.
    fn describes<T>(&self, table: &HashTable<T, Tagged>) -> bool {
        let words = words_of(table);
        words[self.mask] + 1 == table.num_buckets()
            && words[self.items] == table.len()
            && words[self.room] + table.len() == table.capacity()
            && words[self.tag] as u64 == table.allocator().tag
            && Memory::of::<T>(table.num_buckets(), self.group).is_some_and(|m| m.bytes == table.allocation_size())
    }
}

fn words_of<T, A: Allocator>(table: &HashTable<T, A>) -> [usize; WORDS] {
    const { assert!(size_of::<HashTable<T, A>>() == size_of::<[usize; WORDS]>()) };
    // SAFETY: five words without padding: two pointers-sized numbers, a pointer, a number, and the allocator's.
    unsafe { (&raw const *table).cast::<[usize; WORDS]>().read() }
}

/// What the memory of a table looks like: values from the control bytes downwards, then the control bytes, and a group of them again.
struct Memory {
    align: usize,
    ctrl: usize,
    bytes: usize,
}

impl Memory {
    fn of<T>(buckets: usize, group: usize) -> Option<Self> {
        let align = align_of::<T>().max(group);
        let ctrl = buckets.checked_mul(size_of::<T>())?.checked_next_multiple_of(align)?;
        let bytes = ctrl.checked_add(buckets)?.checked_add(group)?;
        Some(Self { align, ctrl, bytes })
    }
}

impl<T: Persist> Table<T> {
    /// Looks at a table, and tells `walker` of its memory and its values.
    ///
    /// # Errors
    /// `Corrupt`, unless hashbrown could have left it like this: only then may a reference to it be made.
    ///
    /// # Safety
    /// That of [`Persist::walk`].
    pub unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: readable by the contract of this function; a plain number.
        let tag = unsafe { (*this).tag };
        if tag != 0 {
            return walker.belongs::<Self>(tag);
        }
        let shape = Shape::of_tables();
        // SAFETY: as above; the pointer word is read as one, whatever it is.
        let (words, ctrl) = unsafe {
            let table = (&raw mut (*this).table).cast::<usize>();
            (table.cast::<[usize; WORDS]>().read(), table.add(shape.ctrl).cast::<*mut u8>().read())
        };
        let (mask, room, items) = (words[shape.mask], words[shape.room], words[shape.items]);
        let bad = |walker: &Walker<'_>, what: &str| {
            Err(walker.invalid::<Self>(format_args!("{what} (mask {mask:#x}, room {room}, items {items})")))
        };
        let buckets = mask.wrapping_add(1);
        let memory = Memory::of::<T>(buckets, shape.group).filter(|_| buckets >= 4 && buckets.is_power_of_two());
        let Some(memory) = memory else { return bad(walker, "a table with that many buckets") };
        let addr = walker.address_of(ctrl).wrapping_sub(memory.ctrl as u64);
        let (size, values) = ((memory.bytes, memory.align), (memory.ctrl, buckets));
        let start = walker.owns_other::<T>(addr, size, values, walk_values::<T>)?;
        // SAFETY: the object has `bytes` bytes, which the walker has checked, and nobody writes them.
        let control = unsafe { std::slice::from_raw_parts(start.add(memory.ctrl), buckets + shape.group) };
        let full = control[..buckets].iter().filter(|c| **c < DELETED).count();
        let deleted = control[..buckets].iter().filter(|c| **c == DELETED).count();
        let empty = control[..buckets].iter().filter(|c| **c == EMPTY).count();
        let capacity = if buckets <= 8 { mask } else { buckets / 8 * 7 };
        if full != items || full + deleted + empty != buckets || items.checked_add(room + deleted) != Some(capacity) {
            return bad(walker, "a table whose control bytes are others");
        }
        // Where a group would reach beyond the end it finds the first ones again.
        let again = buckets.max(shape.group);
        let repeated = shape.group.min(buckets);
        let between = &control[buckets..again];
        if control[again..again + repeated] != control[..repeated] || between.iter().any(|c| *c != EMPTY) {
            return bad(walker, "a table whose last control bytes are not its first");
        }
        Ok(())
    }
}

/// Walks the values of a table with `buckets` buckets, whose control bytes begin at `ctrl`.
///
/// # Safety
/// That of [`Persist::walk`], for the values; [`Table::walk`] has looked at the control bytes.
unsafe fn walk_values<T: Persist>(ctrl: *mut u8, buckets: usize, walker: &mut Walker<'_>) -> Result<()> {
    for at in 0..buckets {
        // SAFETY: a control byte, and if it says so a value, within the memory of the table; values end where the control bytes begin, which are aligned for them.
        unsafe {
            if ctrl.add(at).read() < DELETED {
                walker.field("");
                T::walk(ctrl.cast::<T>().sub(at + 1), walker)?;
            }
        }
    }
    Ok(())
}
