//! What a root owns cannot be moved out through a reference.
use strewn::{Heap, PVec, Persist, Result};

#[derive(Persist)]
struct Desk<'s> {
    words: PVec<'s, u64>,
}

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let root = heap.root::<Desk>("desk", |section| Ok(Desk { words: PVec::new_in(section) }))?;
    let section = heap.enter();
    let words = root.read(&section)?.words;
    let others = root.write(&section)?.words;
    println!("{words:?} {others:?}");
    Ok(())
}
