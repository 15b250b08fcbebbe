//! A shared reference leads through one address, a unique one through another: they must never coexist.
use strewn::{Heap, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<PVec<u64>>("numbers", |section| Ok(PVec::new_in(section)))?;
    let section = heap.enter();
    let mut numbers = root.write(&section)?;
    for number in numbers.iter() {
        numbers.push(*number);
    }
    Ok(())
}
