//! Nothing of a heap can be kept for ever.
use std::sync::Mutex;
use strewn::{Heap, PBox, Result};

static KEPT: Mutex<Option<PBox<'static, u64>>> = Mutex::new(None);

fn main() -> Result<()> {
    let heap = Heap::open("desk.heap")?;
    let section = heap.enter();
    *KEPT.lock().unwrap() = Some(PBox::new_in(1, &section));
    Ok(())
}
