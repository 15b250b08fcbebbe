//! What attributes may say.
use strewn::Persist;

#[derive(Persist)]
#[persist(name = "Desk<u64>")]
struct Name;

#[derive(Persist)]
#[persist(name = "")]
struct NoName;

#[derive(Persist)]
#[persist(version = 0)]
struct Version;

#[derive(Persist)]
#[persist(version = "2")]
struct Quoted;

#[derive(Persist)]
#[persist(writes = "software")]
struct Written;

#[derive(Persist)]
#[persist(name)]
struct Unsaid;

#[derive(Persist)]
struct Rebuilt {
    #[persist(rebuild = "make")]
    a: u64,
}

fn main() {}
