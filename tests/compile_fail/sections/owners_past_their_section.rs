//! What owns objects of a heap must end with the section, too.
use strewn::{Heap, PBox, PString, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let (boxed, numbers, text);
    {
        let section = heap.enter();
        boxed = PBox::new_in(1, &section);
        numbers = PVec::from_slice_in(&[1, 2], &section);
        text = PString::from_str_in("words", &section);
    }
    heap.checkpoint()?;
    println!("{boxed:?} {numbers:?} {text}");
    Ok(())
}
