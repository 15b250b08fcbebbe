//! A type is seen in one section at a time.
use strewn::{PVec, Persist};

#[derive(Persist)]
struct Pair<'a, 'b> {
    a: PVec<'a, u64>,
    b: PVec<'b, u64>,
}

fn main() {}
