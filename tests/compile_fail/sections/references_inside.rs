//! What is in a heap holds no references to anything outside.
use strewn::{Heap, PBox, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let outside = 1;
    let _boxed = PBox::new_in(&outside, &section);
    let _words = PVec::from_slice_in(&["a", "b"], &section);
    Ok(())
}
