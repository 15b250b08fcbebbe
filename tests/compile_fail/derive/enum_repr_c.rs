//! Fields of variants lie elsewhere with `C`.
use strewn::Persist;

#[derive(Persist)]
#[repr(C, u8)]
enum Shape {
    Dot,
    Circle(u64),
}

fn main() {}
