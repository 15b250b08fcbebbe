//! Heaps against models: whatever is done to a heap, after it is opened again it holds what its last checkpoint held.
//!
//! Every test runs with each tracker that the kernel has, or the one that `STREWN_TRACKER` names. `STREWN_SEED` replays.

#[path = "model/barrier.rs"]
mod barrier;
#[path = "model/blocks.rs"]
mod blocks;
#[path = "model/operations.rs"]
mod operations;
#[path = "model/places.rs"]
mod places;
#[path = "model/sizes.rs"]
mod sizes;
#[path = "model/threads.rs"]
mod threads;
#[path = "model/world.rs"]
mod world;
