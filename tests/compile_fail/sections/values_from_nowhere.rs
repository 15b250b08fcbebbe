//! What owns objects of a heap is made in a section of it: there is no Default, no new, no collect.
use strewn::{PBox, PString, PVec};

fn is_default<T: Default>() {}

fn main() {
    let _numbers = (1..4).collect::<PVec<u64>>();
    let _text = PString::from("words");
    is_default::<PVec<u64>>();
    is_default::<PString>();
    is_default::<PBox<u64>>();
}
