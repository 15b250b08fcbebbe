//! A value that was taken out of a root must end with the section, too.
use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<Option<PBox<u64>>>("box", |_| Ok(None))?;
    let taken = {
        let section = heap.enter();
        let mut place = root.write(&section)?;
        place.take()
    };
    heap.checkpoint()?;
    drop(taken);
    Ok(())
}
