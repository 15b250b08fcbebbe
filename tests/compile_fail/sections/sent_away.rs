//! A thread that outlives the section cannot have a box of it.
use strewn::{Heap, PBox, Result};

/// As `std::thread::spawn` asks for it.
fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    let boxed = PBox::new_in(1, &section);
    spawn(move || println!("{boxed:?}"));
    Ok(())
}
