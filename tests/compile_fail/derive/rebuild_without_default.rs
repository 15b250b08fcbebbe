//! Nobody says what the field is after a restart.
use strewn::Persist;

#[derive(Persist)]
struct Log {
    #[persist(rebuild)]
    file: std::fs::File,
}

fn main() {}
