//! Maps and sets of the standard library.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use strewn::Persist;

#[derive(Persist)]
struct Index {
    by_hash: HashMap<u64, u64>,
    hashed: HashSet<u64>,
    by_key: BTreeMap<u64, u64>,
    keys: Option<BTreeSet<u64>>,
}

fn main() {}
