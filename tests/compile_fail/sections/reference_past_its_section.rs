//! A reference must end with its section: a cut may follow.
use strewn::{Heap, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<PVec<u64>>("numbers", |section| Ok(PVec::new_in(section)))?;
    let kept;
    {
        let section = heap.enter();
        let mut numbers = root.write(&section)?;
        kept = &mut numbers[0];
    }
    heap.checkpoint()?;
    *kept = 1;
    Ok(())
}
