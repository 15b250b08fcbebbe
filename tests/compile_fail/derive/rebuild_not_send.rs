//! What is in a heap may be sent to another thread, and so may what is rebuilt.
use strewn::Persist;

#[derive(Persist)]
struct Log {
    #[persist(rebuild)]
    lines: std::rc::Rc<u64>,
}

fn main() {}
