//! A type parameter that is a closure.
use strewn::Persist;

#[derive(Persist)]
struct Job<F: FnOnce() -> u64> {
    run: F,
}

fn main() {}
