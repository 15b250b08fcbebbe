//! A thread that outlives the section cannot have a box of it.
use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let boxed = PBox::new_in(1, &section);
    std::thread::spawn(move || println!("{boxed:?}"));
    Ok(())
}
