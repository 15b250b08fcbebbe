//! `Vec`, `VecDeque` and the like.
use std::collections::VecDeque;
use strewn::Persist;

#[derive(Persist)]
struct Queue {
    done: Vec<u64>,
    waiting: (u8, [VecDeque<u64>; 2]),
    heap: std::collections::BinaryHeap<u64>,
}

fn main() {}
