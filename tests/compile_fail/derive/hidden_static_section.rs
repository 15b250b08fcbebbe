//! The same behind an alias, which only the compiler sees through.
use strewn::{PBox, PVec, Persist};

type Boxed = PBox<'static, u64>;

#[derive(Persist)]
struct Root {
    next: Option<Boxed>,
}

#[derive(Persist)]
#[repr(u8)]
enum Slot<'s> {
    Free,
    Taken(PVec<'s, Boxed>),
}

fn main() {}
