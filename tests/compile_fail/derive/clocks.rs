//! Times that mean something to one process only.
use std::time::{Instant, SystemTime};
use strewn::Persist;

#[derive(Persist)]
struct Visit {
    since: Instant,
    at: SystemTime,
}

fn main() {}
