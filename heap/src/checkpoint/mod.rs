//! Checkpoints: stop the world between sections, find and copy what was modified, let it go on, make the copy durable.

mod cut;
mod gate;
mod roots;
mod threads;
mod ticket;
mod writer;

#[cfg(all(test, not(any(loom, shuttle))))]
mod model;
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub use cut::{CutState, Live};
pub use roots::{Lookup, RootTable, RootType, WalkRoot};
pub use threads::{Member, Stopped, Threads};
pub use ticket::{CutReport, Pending, Ticket};
pub use writer::{Idle, Job, Writer};
