//! Builds could disagree about what tells the variants apart.
use strewn::Persist;

#[derive(Persist)]
enum Shape {
    Dot,
    Circle(u64),
}

fn main() {}
