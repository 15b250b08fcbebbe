//! What was leaked is still in the heap, and seen no longer than the section.
use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let leaked: &'static mut u64 = {
        let section = heap.enter();
        PBox::leak(PBox::new_in(1, &section))
    };
    *leaked = 2;
    Ok(())
}
