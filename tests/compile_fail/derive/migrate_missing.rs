//! Nobody says how the old type becomes the new one.
use strewn::{PVec, Persist};

#[derive(Persist)]
#[persist(name = "Desk")]
struct OldDesk<'s> {
    words: PVec<'s, u64>,
}

#[derive(Persist)]
#[persist(version = 2, from = OldDesk<'s>)]
struct Desk<'s> {
    words: PVec<'s, u32>,
}

fn main() {}
