//! Nothing may point to a field of a packed struct.
use strewn::Persist;

#[derive(Persist)]
#[repr(C, packed(2))]
struct Header {
    magic: u16,
    length: u64,
}

fn main() {}
