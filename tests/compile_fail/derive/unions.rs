//! A union does not say which of its fields is valid.
use strewn::Persist;

#[derive(Persist)]
union Bits {
    integer: u64,
    float: f64,
}

fn main() {}
