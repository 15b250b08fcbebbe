//! [`PBTreeMap`] and [`PBTreeSet`]: an ordered map and an ordered set in a heap.
//!
//! The tree is our own: that of std has no allocator on stable Rust, and those of crates (copse, bbtree, allocated-btree, btree-slab) keep their nodes to themselves, so that no walk
//! could name and check them, read through the pointers that they store instead of the dense lane, or are one large array, which each write would dirty.
//!
//! Who does what: `node.rs` has the layout and reads it, `change.rs` changes nodes, and is, with the iterators, where the unsafe code is; `tree.rs` puts in and takes out,
//! `path.rs` finds ways; `map.rs`, `entry.rs`, `iter.rs`, `traits.rs` and `set.rs` are the faces of it; `persist.rs` describes and walks.
//!
//! What is not there: `split_off`, which would have to count what it splits off, value by value.

mod change;
mod entry;
mod iter;
mod map;
mod node;
mod path;
mod persist;
mod set;
mod set_ops;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
mod traits;
mod tree;

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, Range, RangeMut, Values, ValuesMut};
pub use map::PBTreeMap;
pub use set::{PBTreeSet, SetRange};
pub use set_ops::{Difference, Intersection, SymmetricDifference, Union};
