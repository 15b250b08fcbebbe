//! Maps as what lives in a heap: their description, and how they are looked at.

use super::table::{Shape, Table};
use super::{PHashMap, hash_pair};
use crate::base::Result;
use crate::typed::{Persist, Schema, Walker};
use std::hash::{BuildHasher, Hash};

// SAFETY: either the tag of the heap and zeroes, or a table of hashbrown with memory in the heap (H1 in `table.rs`), and a hasher. What hashbrown makes of its five words and
// of the memory is described. `Table::walk` names the memory and refuses what hashbrown could not have left. No destructor need run: what is not dropped is memory of the heap.
unsafe impl<K, V, S> Persist for PHashMap<'_, K, V, S>
where
    K: Persist + Hash,
    V: Persist,
    S: Persist + BuildHasher,
    for<'x> K::In<'x>: Hash,
    for<'x> S::In<'x>: BuildHasher,
{
    type In<'s> = PHashMap<'s, K::In<'s>, V::In<'s>, S::In<'s>>;
    const INTERIOR: bool = S::INTERIOR;
    fn describe(schema: &mut Schema) -> String {
        let (pair, hasher) = (<(K, V)>::describe(schema), S::describe(schema));
        format!("PHashMap<{pair},{hasher}>/{}/{}", Shape::of_tables().describe(), std::mem::offset_of!(Self, hasher))
    }
    unsafe fn walk(this: *mut Self, walker: &mut Walker<'_>) -> Result<()> {
        // SAFETY: the contract of this function, for both fields; shared access is all that `look_up_all` needs.
        unsafe {
            S::walk(&raw mut (*this).hasher, walker)?;
            Table::walk(&raw mut (*this).table, walker)?;
            walker.when_all_is_good(this, look_up_all::<K, V, S>);
        }
        Ok(())
    }
}

/// Looks up each key of the map at `this`, where its hash says.
///
/// # Safety
/// A map that was found good, and so was what it owns; nobody changes it.
unsafe fn look_up_all<K: Hash, V, S: BuildHasher>(this: *mut u8, walker: &mut Walker<'_>) -> Result<()> {
    // SAFETY: the contract of this function.
    let map = unsafe { &*this.cast::<PHashMap<'_, K, V, S>>() };
    let Some(table) = map.table.get() else { return Ok(()) };
    let hash = hash_pair(&map.hasher);
    for pair in table {
        if table.find(hash(pair), |other| std::ptr::eq(other, pair)).is_none() {
            let what = "a map with a key that is not where its hash says: `Hash` of the key, or the hasher, was another when it was stored";
            return Err(walker.invalid::<PHashMap<'_, K, V, S>>(what));
        }
    }
    Ok(())
}
