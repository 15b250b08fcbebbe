//! Values that are not used after their section, but dropped: that frees what they own.

use strewn::{Heap, PHashMap, PHashSet, PVec, Result};

fn main() -> Result<()> {
    let heap = Heap::open("a.heap")?;
    let (_map, _pairs, _set, _numbers);
    {
        let section = heap.enter();
        _map = PHashMap::<u64, u64>::new_in(&section);
        _pairs = PHashMap::<u64, u64>::new_in(&section).into_iter();
        _set = PHashSet::<u64>::new_in(&section);
        _numbers = PVec::<u64>::new_in(&section);
    }
    heap.checkpoint()?;
    Ok(())
}
