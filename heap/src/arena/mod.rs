//! Where a heap lies in the address space: the arithmetic of addresses, and the choice of zones.
//!
//! ```text
//!  47        39 38      30 29            12 11         0
//! +------------+----------+----------------+------------+
//! |    zone    |   lane   |     frame      |    byte    |   an object in a slot
//! +------------+----------+----------------+------------+
//! |    zone    |           page            |    byte    |   an object in a page run
//! +------------+---------------------------+------------+
//! ```

mod layout;
mod place;

pub use layout::{Spot, dense_address, lane_range, locate, page_address, slot_address};
pub use place::{check_number, claim_zone, map_exactly};
