//! The fixed choices: fine everywhere, coarse everywhere. What the others are measured against.

use super::policy::{Policy, Rung, Seen};
use crate::base::LaneBlock;

/// The same rung for every lane-block, always.
pub struct Fixed(pub Rung);

impl Policy for Fixed {
    fn decide(&mut self, _: LaneBlock, _: Seen) -> Rung {
        self.0
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}
