//! The lifetime is that of any section.
use strewn::{PVec, Persist};

#[derive(Persist)]
struct Desk<'s: 'static> {
    words: PVec<'s, u64>,
}

fn main() {}
