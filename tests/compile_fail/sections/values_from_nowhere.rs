//! What owns objects of a heap is made in a section of it: there is no Default, no new, no collect.
use strewn::{PBox, PString, PVec};

fn main() {
    let _numbers = (1..4).collect::<PVec<u64>>();
    let _none = PVec::<u64>::default();
    let _new = PVec::<u64>::new();
    let _boxed = PBox::new(1);
    let _text = PString::from("words");
}
