//! Neither is a root.
use strewn::{Heap, Result};

fn main() -> Result<()> {
    let root = {
        let heap = Heap::open("desk.heap")?;
        heap.root::<u64>("steps", |_| Ok(0))?
    };
    println!("{}", root.name());
    Ok(())
}
