//! What is rebuilt when the heap is opened belongs to no section.
use strewn::{PVec, Persist};

#[derive(Persist)]
struct Desk<'s, T> {
    #[persist(rebuild)]
    cache: Option<PVec<'s, u64>>,
    #[persist(rebuild)]
    seen: std::vec::Vec<T>,
    words: PVec<'s, T>,
}

fn main() {}
