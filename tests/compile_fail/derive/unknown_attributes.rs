//! Attributes are refused by name.
use strewn::Persist;

#[derive(Persist)]
#[persist(nam = "Desk")]
struct Typo;

#[derive(Persist)]
#[persist(rebuild)]
struct OfAField;

#[derive(Persist)]
struct OfAType {
    #[persist(version = 2)]
    a: u64,
}

#[derive(Persist)]
struct Skipped {
    #[persist(skip)]
    a: u64,
}

#[derive(Persist)]
#[repr(u8)]
enum OfAVariant {
    #[persist(name = "a")]
    A,
}

#[derive(Persist)]
#[persist]
struct Nothing;

fn main() {}
