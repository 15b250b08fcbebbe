//! [`Table`]: a hash table in the heap, which numbers its entries.
//!
//! Linear hashing (Litwin, 1980): the table grows by one bucket at a time, so that no section is long. Entries are boxes, owned by the array `nodes`; a
//! bucket is a chain of their numbers. A number stays an entry's own until the entry is removed.
//!
//! Invariants, all checked by [`Table::audit`]:
//! - T1. Every entry is in the chain of the bucket that its hash says, once, and nothing else is in a chain.
//! - T2. An entry's hash is that of its key.
//! - T3. The numbers without an entry are those in `free`, each once.

use crate::hash::hash_bytes;
use crate::segments::Segments;
use anyhow::ensure;
use strewn::{PBox, PVec, Persist, Result, Section};

/// The end of a chain.
const NONE: u32 = u32::MAX;
/// How many entries a bucket has on average.
const LOAD: u32 = 2;
/// Entries are numbered one after the other, so that those of one file share segments; buckets are hit at random, so that small segments serve them best.
const NODES_A_SEGMENT: usize = 64;
const BUCKETS_A_SEGMENT: usize = 16;

/// An entry: a key, and what is kept under it.
#[derive(Persist)]
pub struct Node<'s, V> {
    key: PVec<'s, u8>,
    hash: u64,
    /// The number of the next entry in the chain.
    next: u32,
    /// What is kept under the key.
    pub value: V,
}

impl<V: Persist> Node<'_, V> {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The hash of the key.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// A hash table from bytes to `V`.
#[derive(Persist)]
pub struct Table<'s, V> {
    nodes: Segments<'s, Option<PBox<'s, Node<'s, V>>>, NODES_A_SEGMENT>,
    /// The numbers of removed entries, to be used again.
    free: PVec<'s, u32>,
    /// The first entry of each chain.
    buckets: Segments<'s, u32, BUCKETS_A_SEGMENT>,
}

impl<'s, V: Persist> Table<'s, V> {
    /// An empty table.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { nodes: Segments::new_in(section), free: PVec::new_in(section), buckets: Segments::new_in(section) }
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        self.nodes.len() - self.free.len() as u32
    }

    /// One more than the highest number that was ever given to an entry.
    pub fn numbers(&self) -> u32 {
        self.nodes.len()
    }

    /// The number of the entry at `key`.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        if self.buckets.len() == 0 {
            return None;
        }
        let hash = hash_bytes(key);
        let mut number = *self.buckets.get(self.bucket_of(hash));
        while number != NONE {
            let node = self.node(number);
            if node.hash == hash && node.key() == key {
                return Some(number);
            }
            number = node.next;
        }
        None
    }

    /// The entry that has `number`, if there is one.
    pub fn get(&self, number: u32) -> Option<&Node<'s, V>> {
        if number >= self.nodes.len() {
            return None;
        }
        self.nodes.get(number).as_deref()
    }

    /// The entry that has `number`. Panics if there is none.
    pub fn node(&self, number: u32) -> &Node<'s, V> {
        self.get(number).expect("the number of an entry")
    }

    /// The entry that has `number`, to change it. Panics if there is none.
    pub fn node_mut(&mut self, number: u32) -> &mut Node<'s, V> {
        self.nodes.get_mut(number).as_mut().expect("the number of an entry")
    }

    /// All entries with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Node<'s, V>)> {
        (0..self.nodes.len()).filter_map(move |number| Some((number, self.get(number)?)))
    }

    /// Adds an entry, whose key is not in the table, and returns its number.
    pub fn insert(&mut self, key: &[u8], value: V, section: &'s Section<'_>) -> Result<u32> {
        self.add_bucket_if_crowded(section)?;
        let hash = hash_bytes(key);
        let bucket = self.bucket_of(hash);
        let next = *self.buckets.get(bucket);
        let mut bytes = PVec::new_in(section);
        bytes.try_extend_from_slice(key)?;
        let node = Node { key: bytes, hash, next, value };
        let node = Some(PBox::try_new_in(node, section)?);
        let number = match self.free.pop() {
            Some(number) => {
                *self.nodes.get_mut(number) = node;
                number
            }
            None => self.nodes.push(node, section)?,
        };
        *self.buckets.get_mut(bucket) = number;
        Ok(number)
    }

    /// Removes an entry and returns what was kept there. Panics if there is no such entry.
    pub fn remove(&mut self, number: u32) -> Result<V> {
        let bucket = self.bucket_of(self.node(number).hash);
        let next = self.node(number).next;
        let mut at = *self.buckets.get(bucket);
        if at == number {
            *self.buckets.get_mut(bucket) = next;
        } else {
            while self.node(at).next != number {
                at = self.node(at).next;
            }
            self.node_mut(at).next = next;
        }
        self.free.try_push(number)?;
        let node = self.nodes.get_mut(number).take().expect("found above");
        Ok(PBox::into_inner(node).value)
    }

    /// The bucket for `hash`: as many low bits of it as there are buckets for.
    fn bucket_of(&self, hash: u64) -> u32 {
        let buckets = self.buckets.len();
        let low = 1 << buckets.ilog2();
        let wide = hash as u32 & (2 * low - 1);
        if wide < buckets { wide } else { wide & (low - 1) }
    }

    fn add_bucket_if_crowded(&mut self, section: &'s Section<'_>) -> Result<()> {
        let new = self.buckets.len();
        if new > 0 && self.len() < new.saturating_mul(LOAD) {
            return Ok(());
        }
        self.buckets.push(NONE, section)?;
        if new > 0 {
            let split = new - (1 << new.ilog2());
            let mut number = std::mem::replace(self.buckets.get_mut(split), NONE);
            while number != NONE {
                let bucket = self.bucket_of(self.node(number).hash);
                let first = std::mem::replace(self.buckets.get_mut(bucket), number);
                number = std::mem::replace(&mut self.node_mut(number).next, first);
            }
        }
        Ok(())
    }

    /// Checks T1 to T3 in full, and returns how many objects of the heap the table takes, without what its values own.
    pub fn audit(&self) -> anyhow::Result<u64> {
        let mut chained = vec![false; self.nodes.len() as usize];
        for bucket in 0..self.buckets.len() {
            let mut number = *self.buckets.get(bucket);
            while number != NONE {
                let Some(node) = self.get(number) else { anyhow::bail!("bucket {bucket} leads to a lost entry") };
                ensure!(!std::mem::replace(&mut chained[number as usize], true), "entry {number} is chained twice");
                ensure!(self.bucket_of(node.hash) == bucket, "entry {number} is in the wrong bucket");
                number = node.next;
            }
        }
        let mut objects = self.nodes.objects() + self.buckets.objects() + u64::from(self.free.capacity() > 0);
        for (number, node) in self.iter() {
            ensure!(chained[number as usize], "entry {number} is in no chain");
            ensure!(node.hash == hash_bytes(node.key()), "the key of entry {number} is torn");
            objects += 1 + u64::from(node.key.capacity() > 0);
        }
        for number in &self.free {
            ensure!(!std::mem::replace(&mut chained[*number as usize], true), "entry {number} is both free and taken");
        }
        ensure!(chained.iter().all(|known| *known), "an entry was lost");
        Ok(objects)
    }
}
