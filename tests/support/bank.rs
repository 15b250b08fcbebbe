//! A heap full of self-checking objects that several threads work on, for suites that kill them.
//!
//! Invariants, each of which every checkpoint must show:
//! - B1. Every object holds its own address, its kind, and a checksum of all its words.
//! - B2. The balances of all accounts add up to `TOTAL`: a transfer writes two objects in one section.
//! - B3. An anchor holds the count of the nodes in its list and the sum of their sequence numbers.
//! - B4. The root, the generation object, accounts, anchors and nodes are all that is live: nothing leaks, nothing is lost.
//!
//! One more list, the crowd, has nodes of one size that nothing else has. It grows to more than a block of memory and shrinks to nothing, and is written
//! densely, here and there, or not at all ([`Phase`]), so that the granularity ladder has something to do.

use crate::memory::{mix, object};
use rand::{Rng, rngs::SmallRng};
use std::alloc::Layout;
use std::ptr::with_exposed_provenance_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use strewn::{Heap, Persist, Section, Writes, testing::write_address};

const ANCHORS: usize = 4;
const ACCOUNTS: usize = 24;
const TOTAL: u64 = 1_000_000 * ACCOUNTS as u64;
const NODES_MAX: u64 = 150;
const CROWD_MAX: usize = 12_000;
/// 224 bytes: a size class without accounts and without other nodes.
const CROWD_WORDS: usize = 28;
/// Payloads that would make a node of the crowd's size class.
const NOT_PAYLOADS: std::ops::RangeInclusive<usize> = CROWD_WORDS - HEADER_WORDS - 3..=CROWD_WORDS - HEADER_WORDS;
const ROOT: &str = "bank";

const SUM: usize = 0;
const ADDRESS: usize = 1;
const KIND: usize = 2;
/// The generation, an account's balance, an anchor's count, a node's sequence number.
const VALUE: usize = 3;
/// An anchor's sum of sequence numbers, a node's length in words.
const SECOND: usize = 4;
/// The list's first node, the next node.
const NEXT: usize = 5;
const HEADER_WORDS: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Kind {
    Generation = 0x6e65_4765_6e65_4731,
    Account,
    Anchor,
    Node,
}

/// The root: addresses, written once.
#[derive(Clone, Copy, Persist)]
pub struct Directory {
    generation: u64,
    accounts: [u64; ACCOUNTS],
    anchors: [u64; ANCHORS],
    crowd: u64,
}

/// What happens to the crowd for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// Nodes are added.
    Growth,
    /// Nodes are taken away.
    Decay,
    /// Nodes that lie together are written.
    Dense,
    /// Single nodes are written.
    Sparse,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Growth, Self::Decay, Self::Dense, Self::Sparse];
}

/// What a verified heap holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The last generation whose start it holds.
    pub generation: u64,
    /// Nodes in all lists.
    pub nodes: u64,
}

/// The bank of an open heap.
pub struct Bank<'h> {
    heap: &'h Heap,
    directory: Directory,
    accounts: Mutex<()>,
    anchors: [Mutex<()>; ANCHORS],
    /// The addresses of the crowd's nodes, from the last of the list to its first.
    crowd: Mutex<Vec<u64>>,
}

/// Words of an account: a different number for each, so that transfers cross size classes.
fn account_words(i: usize) -> usize {
    HEADER_WORDS + i * i / 2
}

/// The words of an object: in turn as hardware and as the write barrier catch writes to them.
///
/// # Safety
/// `words` words at `addr` are those of one live object, nobody else uses them while the result lives, and the caller is inside a section.
#[allow(clippy::mut_from_ref, reason = "the contract makes it exclusive; the section only bounds its life")]
unsafe fn words<'s>(_section: &'s Section<'_>, addr: u64, words: usize) -> &'s mut [u64] {
    static TURN: AtomicU64 = AtomicU64::new(0);
    // Relaxed: any order will do.
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let writes = if turn.is_multiple_of(2) { Writes::Hardware } else { Writes::Barrier };
    // SAFETY: by the contract; heap memory is always initialised, and objects are aligned to 8 bytes here.
    unsafe {
        let addr = write_address(addr, words * size_of::<u64>(), writes);
        std::slice::from_raw_parts_mut(with_exposed_provenance_mut(addr as usize), words)
    }
}

fn sum_of(words: &[u64]) -> u64 {
    words[SUM + 1..].iter().fold(0, |sum, word| u64::from(crc32c::crc32c_append(sum as u32, &word.to_le_bytes())))
}

fn seal(words: &mut [u64]) {
    words[SUM] = sum_of(words);
}

fn layout(words: usize) -> Layout {
    Layout::array::<u64>(words).expect("a small layout")
}

/// A new object of zeros but for its header.
fn create(section: &Section<'_>, kind: Kind, count: usize, value: u64) -> strewn::Result<u64> {
    let addr = section.alloc(layout(count))?.as_ptr().expose_provenance() as u64;
    // SAFETY: just allocated, for this layout.
    let words = unsafe { words(section, addr, count) };
    words.fill(0);
    (words[ADDRESS], words[KIND], words[VALUE]) = (addr, kind as u64, value);
    seal(words);
    Ok(addr)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'h> Bank<'h> {
    /// The bank of `heap`, founded if there is none.
    ///
    /// # Errors
    /// What the heap reports.
    pub fn open(heap: &'h Heap) -> strewn::Result<Self> {
        let root = heap.root::<Directory>(ROOT, |section| {
            let generation = create(section, Kind::Generation, HEADER_WORDS, 0)?;
            let crowd = create(section, Kind::Anchor, HEADER_WORDS, 0)?;
            let mut directory = Directory { generation, accounts: [0; ACCOUNTS], anchors: [0; ANCHORS], crowd };
            for (i, account) in directory.accounts.iter_mut().enumerate() {
                *account = create(section, Kind::Account, account_words(i), TOTAL / ACCOUNTS as u64)?;
            }
            for anchor in &mut directory.anchors {
                *anchor = create(section, Kind::Anchor, HEADER_WORDS, 0)?;
            }
            Ok(directory)
        })?;
        let section = heap.enter();
        let directory = *root.read(&section)?;
        let mut crowd = Vec::new();
        // SAFETY: an anchor and nodes have a header, and this is the only thread.
        let mut node = unsafe { words(&section, directory.crowd, HEADER_WORDS) }[NEXT];
        while node != 0 {
            crowd.push(node);
            // SAFETY: as above.
            node = unsafe { words(&section, node, HEADER_WORDS) }[NEXT];
        }
        crowd.reverse();
        let (accounts, anchors, crowd) = (Mutex::new(()), Default::default(), Mutex::new(crowd));
        Ok(Self { heap, directory, accounts, anchors, crowd })
    }

    /// Starts the next generation. One thread only.
    pub fn next_generation(&self) -> u64 {
        let section = self.heap.enter();
        // SAFETY: an object of this many words that one thread uses.
        let words = unsafe { words(&section, self.directory.generation, HEADER_WORDS) };
        words[VALUE] += 1;
        seal(words);
        words[VALUE]
    }

    /// One section of work. Any thread.
    ///
    /// # Errors
    /// What the heap reports.
    pub fn work(&self, rng: &mut SmallRng) -> strewn::Result<()> {
        let section = self.heap.enter();
        match rng.random_range(0..10) {
            0..4 => self.transfer(&section, rng),
            4..7 => self.push(&section, rng)?,
            7..9 => self.pop(&section, rng),
            _ => self.rewrite(&section, rng),
        }
        Ok(())
    }

    fn transfer(&self, section: &Section<'_>, rng: &mut SmallRng) {
        let (from, to) = (rng.random_range(0..ACCOUNTS), rng.random_range(0..ACCOUNTS));
        let _guard = lock(&self.accounts);
        let add = |i: usize, amount: u64| {
            // SAFETY: an account has this many words, and the lock is held.
            let words = unsafe { words(section, self.directory.accounts[i], account_words(i)) };
            words[VALUE] = words[VALUE].wrapping_add(amount);
            seal(words);
        };
        let amount = rng.random_range(0..1000);
        add(from, 0u64.wrapping_sub(amount));
        add(to, amount);
    }

    fn push(&self, section: &Section<'_>, rng: &mut SmallRng) -> strewn::Result<()> {
        let list = rng.random_range(0..ANCHORS);
        let guard = lock(&self.anchors[list]);
        // SAFETY: an anchor has a header, and its lock is held.
        let anchor = unsafe { words(section, self.directory.anchors[list], HEADER_WORDS) };
        if anchor[VALUE] >= NODES_MAX {
            drop(guard);
            self.pop(section, rng);
            return Ok(());
        }
        let payload = match rng.random_range(0..100) {
            0..70 => rng.random_range(0..40),
            70..97 => rng.random_range(0..400),
            _ => rng.random_range(0..6000),
        };
        let count = HEADER_WORDS + if NOT_PAYLOADS.contains(&payload) { 0 } else { payload };
        add_node(section, anchor, count, rng)?;
        seal(anchor);
        Ok(())
    }

    /// One section of work on the crowd. Any thread.
    ///
    /// # Errors
    /// What the heap reports.
    pub fn work_on_crowd(&self, phase: Phase, rng: &mut SmallRng) -> strewn::Result<()> {
        let section = self.heap.enter();
        let mut crowd = lock(&self.crowd);
        // SAFETY: an anchor has a header, and the crowd's lock is held.
        let anchor = unsafe { words(&section, self.directory.crowd, HEADER_WORDS) };
        match phase {
            Phase::Idle => return Ok(()),
            Phase::Growth => {
                for _ in 0..(CROWD_MAX - crowd.len()).min(200) {
                    crowd.push(add_node(&section, anchor, CROWD_WORDS, rng)?);
                }
            }
            Phase::Decay => {
                for _ in 0..crowd.len().min(400) {
                    crowd.pop();
                    take_node(&section, anchor);
                }
            }
            Phase::Dense | Phase::Sparse => {
                let (first, most) =
                    (rng.random_range(0..crowd.len().max(1)), if phase == Phase::Dense { 700 } else { 1 });
                for node in crowd.iter().skip(first).take(most) {
                    // SAFETY: a node of the crowd has this many words, and the crowd's lock is held.
                    rewrite_node(anchor, unsafe { words(&section, *node, CROWD_WORDS) }, rng);
                }
            }
        }
        seal(anchor);
        Ok(())
    }

    fn pop(&self, section: &Section<'_>, rng: &mut SmallRng) {
        let list = rng.random_range(0..ANCHORS);
        let _guard = lock(&self.anchors[list]);
        // SAFETY: as in `push`.
        let anchor = unsafe { words(section, self.directory.anchors[list], HEADER_WORDS) };
        if anchor[NEXT] != 0 {
            take_node(section, anchor);
            seal(anchor);
        }
    }

    /// Gives a node some steps down a list a new sequence number and payload.
    fn rewrite(&self, section: &Section<'_>, rng: &mut SmallRng) {
        let list = rng.random_range(0..ANCHORS);
        let _guard = lock(&self.anchors[list]);
        // SAFETY: as in `push`.
        let anchor = unsafe { words(section, self.directory.anchors[list], HEADER_WORDS) };
        let mut node = anchor[NEXT];
        for _ in 0..rng.random_range(0..20) {
            if node == 0 {
                return;
            }
            // SAFETY: as in `pop`.
            node = unsafe { words(section, node, HEADER_WORDS) }[NEXT];
        }
        if node == 0 {
            return;
        }
        // SAFETY: as in `pop`; a node's header tells its length.
        let words = unsafe {
            let count = words(section, node, HEADER_WORDS)[SECOND];
            words(section, node, count as usize)
        };
        rewrite_node(anchor, words, rng);
        seal(anchor);
    }

    /// Checks everything, in a heap that nobody modifies and that was just opened. Ends with what is wrong.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verify(heap: &Heap) -> Result<Found, String> {
        heap.check();
        let live = heap.stats().map_err(|e| e.to_string())?.live_objects;
        let Some(root) = heap.find_root::<Directory>(ROOT).map_err(|e| e.to_string())? else {
            return if live == 0 { Ok(Found::default()) } else { Err(format!("no root, but {live} live objects")) };
        };
        let section = heap.enter();
        let directory = *root.read(&section).map_err(|e| e.to_string())?;
        let generation = checked(&section, directory.generation, Kind::Generation, HEADER_WORDS)?[VALUE];
        let mut total = 0u64;
        for (i, account) in directory.accounts.iter().enumerate() {
            total = total.wrapping_add(checked(&section, *account, Kind::Account, account_words(i))?[VALUE]);
        }
        if total != TOTAL {
            return Err(format!(
                "generation {generation}: the accounts add up to {total}, not {TOTAL}: a torn transfer"
            ));
        }
        let mut nodes = 0;
        for anchor in directory.anchors {
            nodes += check_list(&section, anchor, NODES_MAX)?;
        }
        nodes += check_list(&section, directory.crowd, CROWD_MAX as u64)?;
        let expected = 3 + (ACCOUNTS + ANCHORS) as u64 + nodes;
        if live != expected {
            return Err(format!("generation {generation}: {live} live objects, but {expected} can be reached"));
        }
        Ok(Found { generation, nodes })
    }
}

/// Puts a new node before the list of `anchor`, whose lock is held, and which is to be sealed.
fn add_node(section: &Section<'_>, anchor: &mut [u64], count: usize, rng: &mut SmallRng) -> strewn::Result<u64> {
    let sequence = rng.random::<u32>().into();
    let node = create(section, Kind::Node, count, sequence)?;
    // SAFETY: just created; no other thread knows it before the lock is released.
    let words = unsafe { words(section, node, count) };
    (words[SECOND], words[NEXT]) = (count as u64, anchor[NEXT]);
    fill(words);
    anchor[NEXT] = node;
    anchor[VALUE] += 1;
    anchor[SECOND] += sequence;
    Ok(node)
}

/// Frees the first node of the list of `anchor`, whose lock is held, and which is to be sealed.
fn take_node(section: &Section<'_>, anchor: &mut [u64]) {
    let node = anchor[NEXT];
    // SAFETY: a node of the list has a header, and the list's lock is held.
    let words = unsafe { words(section, node, HEADER_WORDS) };
    anchor[NEXT] = words[NEXT];
    anchor[VALUE] -= 1;
    anchor[SECOND] -= words[VALUE];
    // SAFETY: the node came from `create`, and is no longer linked.
    unsafe { section.dealloc(object(node)) };
}

/// Gives a node of the list of `anchor` a new sequence number and payload. The list's lock is held, and the anchor is to be sealed.
fn rewrite_node(anchor: &mut [u64], node: &mut [u64], rng: &mut SmallRng) {
    let sequence = rng.random::<u32>().into();
    anchor[SECOND] = anchor[SECOND] - node[VALUE] + sequence;
    node[VALUE] = sequence;
    fill(node);
}

/// Fills a node's payload according to its sequence number, and seals it.
fn fill(node: &mut [u64]) {
    let sequence = node[VALUE];
    for (word, i) in node[HEADER_WORDS..].iter_mut().zip(0..) {
        *word = mix(sequence, i);
    }
    seal(node);
}

/// The words of an object, if it is one, and whole.
fn checked<'s>(section: &'s Section<'_>, addr: u64, kind: Kind, count: usize) -> Result<&'s [u64], String> {
    let what = || format!("{kind:?} at {addr:#x} of {count} words");
    let usable = if addr == 0 { None } else { section.usable_bytes(object(addr)) };
    if usable.is_none_or(|usable| usable < count * size_of::<u64>()) {
        return Err(format!("{}: usable are {usable:?} bytes", what()));
    }
    // SAFETY: an object starts there and is long enough; nobody modifies the heap.
    let words = unsafe { words(section, addr, count) };
    if (words[ADDRESS], words[KIND]) != (addr, kind as u64) {
        return Err(format!("{}: holds address {:#x} and kind {:#x}", what(), words[ADDRESS], words[KIND]));
    }
    let sum = sum_of(words);
    if words[SUM] != sum {
        return Err(format!("{}: torn: its checksum is {sum:#x}, it holds {:#x}", what(), words[SUM]));
    }
    Ok(words)
}

fn check_list(section: &Section<'_>, anchor: u64, nodes_max: u64) -> Result<u64, String> {
    let anchor = checked(section, anchor, Kind::Anchor, HEADER_WORDS)?;
    let (mut count, mut sequences, mut node) = (0, 0, anchor[NEXT]);
    while node != 0 && count <= nodes_max {
        let usable = section.usable_bytes(object(node)).ok_or_else(|| format!("no object at {node:#x}, in a list"))?;
        if usable < HEADER_WORDS * size_of::<u64>() {
            return Err(format!("the object at {node:#x}, in a list, has {usable} bytes"));
        }
        // SAFETY: an object starts there and holds a header; nobody modifies the heap.
        let len = unsafe { words(section, node, HEADER_WORDS) }[SECOND];
        let words = checked(section, node, Kind::Node, (len as usize).clamp(HEADER_WORDS, 1 << 20))?;
        if let Some(i) =
            (0..words.len() - HEADER_WORDS).find(|i| words[HEADER_WORDS + i] != mix(words[VALUE], *i as u64))
        {
            return Err(format!("word {i} of the payload of the node at {node:#x} is wrong"));
        }
        (count, sequences, node) = (count + 1, sequences + words[VALUE], words[NEXT]);
    }
    if (count, sequences) != (anchor[VALUE], anchor[SECOND]) {
        let (want, sum) = (anchor[VALUE], anchor[SECOND]);
        return Err(format!("a list holds {count} nodes with sum {sequences}, its anchor says {want} with sum {sum}"));
    }
    Ok(count)
}
