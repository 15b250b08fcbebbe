//! Who reads a root cannot change it.
use strewn::{Heap, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<u64>("steps", |_| Ok(0))?;
    let section = heap.enter();
    let steps = root.read(&section)?;
    *steps += 1;
    Ok(())
}
