//! `Rc` and `Arc`: there is no `PRc`, because what is in a heap may be sent to another thread.
use std::rc::Rc;
use std::sync::Arc;
use strewn::Persist;

#[derive(Persist)]
struct Alone {
    value: Rc<u64>,
    parent: Option<std::rc::Weak<u64>>,
}

#[derive(Persist)]
struct Shared {
    value: Arc<u64>,
}

fn main() {}
