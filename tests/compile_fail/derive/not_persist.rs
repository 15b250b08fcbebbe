//! A type of the user's, that is not `Persist` itself.
use strewn::{PVec, Persist};

struct Plain;

#[derive(Persist)]
struct Holder<'s> {
    plain: Plain,
    deep: PVec<'s, (u8, Option<Plain>)>,
}

fn main() {}
