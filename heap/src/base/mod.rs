//! What every other layer may use: units, errors, the `sync` switch. Uses nothing of the crate itself.

pub mod canary;
pub mod error;
pub mod index_set;
pub mod mask;
mod mistakes;
#[cfg(all(test, any(loom, shuttle)))]
pub mod models;
pub mod names;
pub mod sync;
pub mod units;

pub use canary::{Canary, canary};
pub use error::{Error, ErrorKind, Result};
pub use index_set::{FrameSet, LaneBlockSet};
pub use mask::SlotMask;
pub use mistakes::Mistake;
pub use units::*;
