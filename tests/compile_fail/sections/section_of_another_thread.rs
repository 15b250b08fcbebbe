//! A section belongs to the thread that entered it.
use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    std::thread::scope(|scope| {
        scope.spawn(|| PBox::into_inner(PBox::new_in(1, &section)));
    });
    std::thread::scope(|scope| {
        scope.spawn(move || drop(section));
    });
    Ok(())
}
