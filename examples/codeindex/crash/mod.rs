//! Proof by crashing: a supervisor kills an indexing child at random instants, opens what it left behind, and compares.
//!
//! How that proves that the recovered index equals one that was checkpointed:
//! - The child announces each state of the index (generation and digest) before it leaves the section that made it. So the supervisor knows every state that
//!   any checkpoint can hold, whenever the child dies.
//! - The child acknowledges generation g after a checkpoint that was begun after g. So the supervisor knows what must not be lost.
//! - The supervisor recovers the heap, recomputes the digest from the recovered structures alone ([`Index::audit`](crate::index::Index::audit)), and has
//!   `Ledger::judge` compare. The heap is opened with `verify`, which looks at every pointer, and must have no object that the index does not reach.
//!
//! What it does not prove: a kill leaves the kernel's page cache intact. Lost and reordered disk writes are for the crash tests of the heap itself.

mod child;
mod ledger;
mod supervisor;

pub use child::{ChildArgs, be_killed};
pub use supervisor::{CrashArgs, supervise};
