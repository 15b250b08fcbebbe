//! What owns objects of a heap is made in a section of it: there is no Default, no collect, no From.
use strewn::{PBox, PString, PVec};

fn is_collected<T: FromIterator<u64>>() {}
fn is_default<T: Default>() {}
fn is_made_from<U, T: From<U>>() {}

fn main() {
    is_collected::<PVec<u64>>();
    is_default::<PVec<u64>>();
    is_default::<PString>();
    is_default::<PBox<u64>>();
    is_made_from::<u64, PBox<u64>>();
    is_made_from::<&str, PString>();
}
