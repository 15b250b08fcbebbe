//! So do vtables.
use strewn::{PBox, Persist};

trait Animal {}

#[derive(Persist)]
struct Zoo<'s> {
    foreign: Box<dyn Animal>,
    ours: PBox<'s, dyn Animal + Send>,
}

fn main() {}
