//! Cells and locks of the standard library.
use std::cell::{Cell, RefCell};
use std::sync::{Mutex, OnceLock, RwLock};
use strewn::Persist;

#[derive(Persist)]
struct Counters {
    cell: Cell<u64>,
    ref_cell: RefCell<u64>,
    mutex: Mutex<u64>,
    rw_lock: RwLock<u64>,
    once: OnceLock<u64>,
}

fn main() {}
