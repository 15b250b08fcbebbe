//! The store by itself, against a model: a simulated disk that fails in every way it may, damaged files, records, real files.
//!
//! What crashes leave is in `crash_states.rs`.

#[path = "store/damage.rs"]
mod damage;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/os.rs"]
mod os;
#[path = "store/records.rs"]
mod records;
#[path = "store/steady.rs"]
mod steady;
#[path = "store/suspects.rs"]
mod suspects;
