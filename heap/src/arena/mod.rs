//! Where a heap lies in the address space: the arithmetic of addresses, the choice of zones, and which slots
//! were marked as written.
//!
//! ```text
//!  47        39 38      30 29            12 11         0
//! +------------+----------+----------------+------------+
//! |    zone    |   lane   |     frame      |    byte    |   an object in a slot
//! +------------+----------+----------------+------------+
//! |    zone    |           page            |    byte    |   an object in a page run
//! +------------+---------------------------+------------+
//! ```

mod barrier;
mod layout;
mod place;

pub use barrier::{Marked, Marks, Writes, write_address};
pub use layout::{Spot, dense_address, lane_range, locate, page_address, slot_address};
pub use place::{check_number, claim_zone, map_exactly};
