//! No value of such a type could be in a heap.
use strewn::Persist;

#[derive(Persist)]
enum Never {}

fn main() {}
