//! Functions lie elsewhere in every build.
use strewn::Persist;

#[derive(Persist)]
struct Hooks {
    on_open: fn(u64) -> u64,
    on_close: Option<unsafe extern "C" fn()>,
}

fn main() {}
