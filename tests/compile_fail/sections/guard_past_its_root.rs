//! The borrow of a root belongs to the root.
use strewn::{Heap, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let steps = {
        let root = heap.root::<u64>("steps", |_| Ok(0))?;
        root.read(&section)?
    };
    println!("{}", *steps);
    Ok(())
}
