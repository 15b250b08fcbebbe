//! A value of one heap, given to a thread that is inside a section of another.

use strewn::{Heap, PBox, Result};

fn main() -> Result<()> {
    let (one, other) = (Heap::open("one.heap")?, Heap::open("other.heap")?);
    let section = one.enter();
    let boxed = PBox::new_in(41_u64, &section);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = other.root::<Option<PBox<u64>>>("x", |_| Ok(None)).unwrap();
            let section = other.enter();
            *root.write(&section).unwrap() = Some(boxed);
        });
    });
    Ok(())
}
