//! What tests of several layers need of this one.

use super::{ZoneMapping, probe::skip};
use std::{ops::Range, time::Duration};

/// How often, a millisecond apart, a block whose pages are busy is asked for. Nobody writes to it, so it is not busy for long.
const ATTEMPTS: u32 = 2000;

/// Makes one huge page of `block`, in the dense lane of `zone`. None, said aloud, where the kernel refuses.
pub fn collapse(zone: &ZoneMapping, block: Range<u64>) -> Option<()> {
    for _ in 0..ATTEMPTS {
        match zone.collapse(block.clone()) {
            Ok(true) => return Some(()),
            Ok(false) => std::thread::sleep(Duration::from_millis(1)),
            Err(e) => {
                skip(&e.to_string());
                return None;
            }
        }
    }
    panic!("the pages of {block:#x?} were busy {ATTEMPTS} times");
}
