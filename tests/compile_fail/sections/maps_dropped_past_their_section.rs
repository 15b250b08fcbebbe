//! Values that are not used after their section, but dropped: that frees what they own.

use strewn::{Heap, PHashMap, PHashSet, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("a.heap")?;
    let (map, pairs, set, numbers);
    {
        let section = heap.enter();
        map = PHashMap::<u64, u64>::new_in(&section);
        pairs = PHashMap::<u64, u64>::new_in(&section).into_iter();
        set = PHashSet::<u64>::new_in(&section);
        numbers = PVec::<u64>::new_in(&section);
    }
    heap.checkpoint()?;
    Ok(())
}
