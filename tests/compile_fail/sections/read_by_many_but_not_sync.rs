//! Several threads may read a root at a time, so what it holds must be Sync.
use std::cell::Cell;
use strewn::{Heap, Persist, Result};

#[derive(Persist)]
struct Counter {
    #[persist(rebuild)]
    reads: Cell<u64>,
}

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<Counter>("counter", |_| Ok(Counter { reads: Cell::new(0) }))?;
    let section = heap.enter();
    let counter = root.read(&section)?;
    counter.reads.set(counter.reads.get() + 1);
    Ok(())
}
