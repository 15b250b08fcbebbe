//! A bound would have to hold in every section.
use strewn::{PVec, Persist};

#[derive(Persist)]
struct Sorted<'s, T: Ord> {
    values: PVec<'s, T>,
}

#[derive(Persist)]
struct Hashed<'s, T>
where
    T: Persist + std::hash::Hash,
{
    values: PVec<'s, T>,
}

#[derive(Persist)]
struct Lasting<'s, T: 'static>(PVec<'s, T>);

#[derive(Persist)]
struct Paired<'s, T>(PVec<'s, T>)
where
    (T, T): Copy;

fn main() {}
