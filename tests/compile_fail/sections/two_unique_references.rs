//! Two unique references to one object.
use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let mut boxed = PBox::new_in(1, &section);
    let one = &mut *boxed;
    let other = &mut *boxed;
    std::mem::swap(one, other);
    Ok(())
}
