//! [`Persist`] for maps and their nodes: the shape of a tree is checked before anything is read as a key or a value. The order of keys is not: it takes code of theirs.

use super::node::{At, HEIGHT_MAX, Node, Shape, Shared};
use super::{PBTreeMap, PBTreeSet};
use crate::arena::Writes;
use crate::base::Result;
use crate::typed::access::notes_ptr;
use crate::typed::{Persist, Schema, Walker};

// SAFETY: the address of the root, or the heap's tag, and two numbers; `walk` names all nodes, and the walk of a node its keys and values. The description has all that the
// layout of nodes follows from.
unsafe impl<K: Persist, V: Persist> Persist for PBTreeMap<'_, K, V> {
    type In<'s> = PBTreeMap<'s, K::In<'s>, V::In<'s>>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        let (key, value) = (K::describe(schema), V::describe(schema));
        format!("PBTreeMap<{key},{value}>/{}", shape::<K, V>())
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: readable by the contract of this function; all three are plain numbers.
        let (root, len, height) = unsafe { ((*this).root, (*this).len, (*this).height) };
        if height > HEIGHT_MAX as u64 || height == 0 && len > 0 {
            return Err(walker.invalid::<Self>(format_args!("{len} values, {height} levels")));
        }
        if height == 0 {
            return walker.belongs::<Self>(root);
        }
        let found = walk_nodes::<K, V>(At { addr: root, level: height as u32 - 1 }, walker)?;
        if found == len {
            return Ok(());
        }
        Err(walker.invalid::<Self>(format_args!("{found} values where {len} are counted")))
    }
}

/// Capacity, offsets of the arrays, sizes of a leaf and of an inner node, alignment.
fn shape<K, V>() -> String {
    let (leaf, inner) = (Shape::<K, V>::layout(0), Shape::<K, V>::layout(1));
    let (capacity, keys, values, edges) =
        (Shape::<K, V>::CAPACITY, Shape::<K, V>::KEYS, Shape::<K, V>::VALUES, Shape::<K, V>::EDGES);
    format!("{capacity}:{keys}:{values}:{edges}:{}:{}:{}", leaf.size(), inner.size(), leaf.align())
}

/// Names all nodes of a tree to the walker, and returns how many values they have.
fn walk_nodes<K: Persist, V: Persist>(root: At, walker: &mut Walker<'_>) -> Result<u64> {
    let mut values = 0;
    // Nodes, and whether each is the last of its level.
    let mut nodes = vec![(root, true)];
    while let Some((at, is_last)) = nodes.pop() {
        let layout = Shape::<K, V>::layout(at.level);
        // No node is walked twice: who is owned twice is refused.
        walker.owns::<Node<K, V>>(at.addr, 1, layout.size())?;
        let head = notes_ptr::<Node<K, V>>(at.addr, layout);
        // SAFETY: an object of this heap, large enough and aligned for a node, which nobody writes meanwhile; both are plain numbers.
        let (len, level) = unsafe { ((*head).len as usize, (*head).level) };
        let least = match (at == root, is_last) {
            (true, _) => usize::from(level > 0),
            (_, true) => 1,
            _ => Shape::<K, V>::MIN,
        };
        if level != at.level || !(least..=Shape::<K, V>::CAPACITY).contains(&len) {
            let what = format_args!("{:#x}, with {len} values, level {level} where {} is expected,", at.addr, at.level);
            return Err(walker.invalid::<Node<K, V>>(what));
        }
        values += len as u64;
        if level > 0 {
            // SAFETY: its level and its length are those of a node, and its edges are only read as numbers.
            let node = unsafe { Shared::<K, V>::new(at) };
            nodes.extend((0..=len).map(|index| (node.child(index).at(), is_last && index == len)));
        }
    }
    Ok(values)
}

// SAFETY: only `walk_nodes` names nodes to a walker: objects with room for a whole node, whose length it has looked at, and whose edges it follows itself. Keys and values
// are walked here.
unsafe impl<K: Persist, V: Persist> Persist for Node<K, V> {
    type In<'s> = Node<K::In<'s>, V::In<'s>>;
    const INTERIOR: bool = K::INTERIOR || V::INTERIOR;
    const WRITES: Writes = match V::WRITES {
        Writes::OfHeap => K::WRITES,
        said => said,
    };
    fn describe(schema: &mut Schema) -> String {
        format!("Node<{},{}>", K::describe(schema), V::describe(schema))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: a node, whose length was looked at when it was named to the walker; each key and each value lies within it.
        unsafe {
            let (start, len) = (this.cast::<u8>(), (*this).len as usize);
            for index in 0..len {
                walker.field("key");
                K::walk(start.add(Shape::<K, V>::KEYS).cast::<K>().add(index), walker)?;
                walker.field("value");
                V::walk(start.add(Shape::<K, V>::VALUES).cast::<V>().add(index), walker)?;
            }
        }
        Ok(())
    }
}

// SAFETY: nothing but a map.
unsafe impl<T: Persist> Persist for PBTreeSet<'_, T> {
    type In<'s> = PBTreeSet<'s, T::In<'s>>;
    const INTERIOR: bool = false;
    fn describe(schema: &mut Schema) -> String {
        format!("PBTreeSet<{}>/{}", T::describe(schema), shape::<T, ()>())
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: a set is laid out as its map.
        unsafe { PBTreeMap::walk(this.cast::<PBTreeMap<'_, T, ()>>(), walker) }
    }
}
