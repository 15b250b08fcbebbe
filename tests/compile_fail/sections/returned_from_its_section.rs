//! A function cannot return what lives in a section of its own.
use strewn::{Heap, PBox, PVec, Result, Root, Section};

fn make(heap: &Heap) -> PBox<'_, u64> {
    let section = heap.enter();
    PBox::new_in(1, &section)
}

fn first<'h>(root: &'h Root<'h, PVec<'static, u64>>, heap: &'h Heap) -> Result<&'h u64> {
    let section = heap.enter();
    let numbers = root.read(&section)?;
    Ok(&numbers[0])
}

/// This one can: the section is the caller's.
fn made<'s>(section: &'s Section<'_>) -> PBox<'s, u64> {
    PBox::new_in(1, section)
}

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    made(&heap.enter());
    make(&heap);
    first(&heap.root("numbers", |section| Ok(PVec::new_in(section)))?, &heap)?;
    Ok(())
}
