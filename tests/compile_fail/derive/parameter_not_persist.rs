//! A type parameter must be `Persist` where the type is used, not where it is declared.
use strewn::Persist;

struct Plain;

#[derive(Persist)]
struct Wrapper<T>(T);

#[derive(Persist)]
struct Holder {
    wrapped: Wrapper<Plain>,
}

fn main() {}
