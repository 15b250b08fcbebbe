//! A root must be Persist.
use strewn::{Heap, Result};

struct Plain;

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    heap.root::<Plain>("plain", |_| Ok(Plain))?;
    heap.root::<String>("string", |_| Ok(String::new()))?;
    Ok(())
}
