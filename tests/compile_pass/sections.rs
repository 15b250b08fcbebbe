//! What looks like the refused programs, and is right.
use strewn::{CollectIn, Heap, PBox, PVec, Persist, Result, Section};

#[derive(Persist)]
struct Desk<'s> {
    words: PVec<'s, PVec<'s, u64>>,
    next: Option<PBox<'s, Desk<'s>>>,
}

/// The section is the caller's.
fn make<'s>(section: &'s Section<'_>) -> Desk<'s> {
    Desk { words: PVec::new_in(section), next: None }
}

fn work(heap: &Heap) -> Result<()> {
    let root = heap.root::<Desk>("desk", |section| Ok(make(section)))?;
    let section = heap.enter();
    let mut desk = root.write(&section)?;
    let inner = desk.next.take();
    desk.words.push((1..4).collect_in(&section));
    desk.next = Some(PBox::new_in(make(&section), &section));
    drop(desk);
    drop(inner);
    let desk = root.read(&section)?;
    std::thread::scope(|scope| {
        scope.spawn(|| desk.words.len());
        scope.spawn(|| root.read(&heap.enter()).map(|desk| desk.words.len()));
    });
    Ok(())
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let heap = Heap::create(dir.path().join("pass.heap")).unwrap();
    work(&heap).unwrap();
    heap.checkpoint().unwrap();
}
