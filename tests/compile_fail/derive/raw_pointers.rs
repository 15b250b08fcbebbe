//! Nobody knows what a raw pointer points to after a restart.
use std::ptr::NonNull;
use strewn::Persist;

#[derive(Persist)]
struct Node {
    left: *const Node,
    right: Option<*mut Node>,
    parent: Option<NonNull<Node>>,
}

fn main() {}
