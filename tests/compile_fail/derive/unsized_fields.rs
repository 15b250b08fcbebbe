//! A slice and `str` have no size of their own.
use strewn::Persist;

#[derive(Persist)]
struct Bytes {
    bytes: [u8],
}

#[derive(Persist)]
struct Text(str);

fn main() {}
