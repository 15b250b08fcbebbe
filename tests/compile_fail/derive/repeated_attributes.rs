//! Said once is enough, in one attribute or in two.
use strewn::Persist;

#[derive(Persist)]
#[persist(version = 2, version = 3)]
struct InOne;

#[derive(Persist)]
#[persist(name = "a")]
#[persist(version = 2, name = "b")]
struct InTwo;

#[derive(Persist)]
struct OfAField {
    #[persist(rebuild, rebuild)]
    a: u64,
}

fn main() {}
