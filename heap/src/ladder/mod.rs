//! The granularity ladder: how finely the writes to each lane-block are tracked, chosen anew at every cut.
//!
//! A *lane-block* is one lane of one block: slot *j* of 512 neighbouring frames. Objects that are allocated one after the other lie in one lane-block, so that
//! it is written densely, sparsely or not at all. Where the block is a huge page, a lane maps it by one entry, and that entry can be armed: one fault
//! for 512 objects, one step of a scan, one TLB entry. Where a table of 512 pages takes its place, each object is caught on its own.
//!
//! ```text
//!                    begin
//!                      |
//!                      v      .---.
//!                  +-------+  |   | see: still being filled, compared
//!                  | young |--'   |
//!                  +-------+<-----'
//!             arm /    |    \ heat
//!                v     |     v
//!      +------+        |       +-----+ ---.
//!  .-->| cold |  refine|       | hot |    | see: looked at
//!  |   +------+        |       +-----+ <--'
//!  |     |  ^  \       |      /  ^  |
//!  |     |  |   \refine|     /   |  |          vacate: any -> (nothing), when no slot of the block is taken
//!  |     |  |    \     v    /heat|  |
//!  |     |  |     +--------+     |  |
//!  |     |  '-----| sparse |<----|--' refine
//!  |     |  cool  +--------+     |
//!  |     `----- heat ------------'
//!  `------------ arm ---------------- (from hot)
//! ```
//!
//! | state | mapped by | armed | a write costs | a cut costs | what was written is found by |
//! | --- | --- | --- | --- | --- | --- |
//! | young | one entry | no | nothing | comparing, while it is being filled | being new, or comparing |
//! | cold | one entry | as a whole | one fault for all 512 slots | nothing: scanned beside the running program | taking all 512 slots |
//! | sparse | 512 pages | slot by slot | a fault a slot, two until it is filled | scanning 512 entries, arming what was written | the scan |
//! | hot | one entry (or pages) | no | nothing | comparing or copying 512 slots | comparing, or taking all |
//!
//! Edges are functions of [`Ladder`] (in `rungs.rs` and `rungs/steps.rs`): [`begin`](Ladder::begin) and [`vacate`](Ladder::vacate) are called by the allocator, all others by
//! [`climb`](Ladder::climb), in the pause and after that range's harvest. Which edge is taken is up to a [`Policy`](policy::Policy). Where lanes are mapped by pages there are sparse
//! and hot lane-blocks only.
//!
//! What it costs is in ARCHITECTURE.md, "The granularity ladder". The idea that what is written often had better be copied without asking is that of Speculative
//! Memory Checkpointing (Middleware 2015); there it is pages that are predicted, here lane-blocks.

mod active;
mod adaptive;
mod costs;
mod fixed;
mod genetic;
mod policy;
mod rng;
mod rungs;
mod shadow;
mod stats;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod tests;

pub use policy::PolicyKind;
pub use rungs::{Ladder, Site};
pub use stats::LadderStats;

use crate::base::names::named;

/// The state of a lane-block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being filled, or filled since the last cut. Not armed.
    Young,
    /// Armed as a whole: one fault wakes it, and scanning it is one step.
    Cold,
    /// Armed slot by slot: a fault for each slot written.
    Sparse,
    /// Not armed: no faults, looked at at each cut.
    Hot,
}

/// How lanes are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mapping {
    /// By huge pages where a size class has filled more than a block of 2 MiB and the kernel can; by pages else.
    #[default]
    Auto,
    /// By pages of 4 KiB, always.
    Pages,
    /// By huge pages from the first object on where the kernel can, however small the heap. For tests.
    Huge,
}

named!(Mapping, "mapping", Auto = "auto", Pages = "pages", Huge = "huge");
