//! A section cannot end while something of the heap is borrowed.
use strewn::{Heap, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<PVec<u64>>("numbers", |section| Ok(PVec::new_in(section)))?;
    let section = heap.enter();
    let numbers = root.read(&section)?;
    drop(section);
    heap.checkpoint()?;
    println!("{}", numbers[0]);
    Ok(())
}
