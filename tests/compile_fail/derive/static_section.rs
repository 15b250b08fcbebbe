//! A box that says that it lives for ever could be taken out of its section.
use strewn::{PBox, Persist};

#[derive(Persist)]
struct Root {
    next: Option<PBox<'static, u64>>,
}

fn main() {}
