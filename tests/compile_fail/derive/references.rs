//! What a reference points to is elsewhere after a restart, at whatever depth it is.
use strewn::{PVec, Persist};

#[derive(Persist)]
struct Desk<'s> {
    shared: &'s u64,
    unique: &'s mut [u8; 4],
    deep: PVec<'s, (u8, [Option<&'s str>; 2])>,
}

fn main() {}
