//! Tests of the store as a whole, against a model, on a disk in memory that fails in every way it may.
//!
//! Every random test names its seed when it fails; the seed is all that is needed to run it again.

mod crash;
mod damage;
mod faults;
mod model;
mod os;
mod records;
mod steady;
mod suspects;
