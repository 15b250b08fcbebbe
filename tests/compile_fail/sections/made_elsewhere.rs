//! A root starts with what was made in the section that its function is given.
use strewn::{Heap, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let numbers = PVec::from_slice_in(&[1u64], &section);
    heap.root::<PVec<u64>>("numbers", |_| Ok(numbers))?;
    Ok(())
}
