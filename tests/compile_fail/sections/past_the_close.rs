//! Nothing of a heap is left when it is closed.
use strewn::{Heap, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<PVec<u64>>("numbers", |section| Ok(PVec::new_in(section)))?;
    let section = heap.enter();
    let numbers = root.read(&section)?;
    drop(heap);
    println!("{}", numbers[0]);
    Ok(())
}
