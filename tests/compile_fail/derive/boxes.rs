//! `Box`, also where it makes a list.
use strewn::Persist;

#[derive(Persist)]
struct List {
    value: u64,
    next: Option<Box<List>>,
}

fn main() {}
