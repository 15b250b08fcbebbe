//! What the suites share.

#[path = "support/bank.rs"]
pub mod bank;
#[path = "support/damage.rs"]
pub mod damage;
#[path = "support/files.rs"]
pub mod files;
#[path = "support/memory.rs"]
pub mod memory;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/script.rs"]
pub mod script;
#[path = "support/specimen.rs"]
pub mod specimen;
#[path = "support/trackers.rs"]
pub mod trackers;
