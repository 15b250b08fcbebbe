//! What the suites share.

#[path = "support/bank.rs"]
pub mod bank;
#[path = "support/damage.rs"]
pub mod damage;
#[path = "support/explore/mod.rs"]
pub mod explore;
#[path = "support/files.rs"]
pub mod files;
#[path = "support/fuzz/mod.rs"]
pub mod fuzz;
#[path = "support/golden.rs"]
pub mod golden;
#[path = "support/memory.rs"]
pub mod memory;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/script.rs"]
pub mod script;
#[path = "support/sim/mod.rs"]
pub mod sim;
#[path = "support/specimen.rs"]
pub mod specimen;
#[path = "support/store_model.rs"]
pub mod store_model;
#[path = "support/trackers.rs"]
pub mod trackers;
