//! The function makes something else.
use strewn::Persist;

fn make() -> u32 {
    7
}

#[derive(Persist)]
struct Log {
    #[persist(rebuild = make)]
    lines: u64,
}

fn main() {}
