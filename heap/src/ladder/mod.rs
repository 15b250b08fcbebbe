//! The granularity ladder: how finely the writes to each lane-block are tracked, chosen anew at every cut.

mod active;
mod adaptive;
mod costs;
mod fixed;
mod genetic;
mod policy;
mod rng;
mod rungs;
mod shadow;
mod stats;

pub use policy::{Policy, PolicyKind};
pub use rungs::{Ladder, Site};
pub use stats::LadderStats;

use crate::base::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// The state of a lane-block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being filled, or filled since the last cut. Not armed.
    Young,
    /// Armed as a whole: one fault wakes it, and scanning it is one step.
    Cold,
    /// Armed slot by slot: a fault for each slot written.
    Sparse,
    /// Not armed: no faults, looked at at each cut.
    Hot,
}

/// How lanes are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mapping {
    /// By huge pages where a size class has filled more than a block of 2 MiB and the kernel can; by pages else.
    #[default]
    Auto,
    /// By pages of 4 KiB, always.
    Pages,
    /// By huge pages from the first object on where the kernel can, however small the heap. For tests.
    Huge,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Pages => "pages",
            Self::Huge => "huge",
        })
    }
}

impl FromStr for Mapping {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "pages" => Ok(Self::Pages),
            "huge" => Ok(Self::Huge),
            _ => Err(Error::new(ErrorKind::InvalidArgument, format!("mapping {name:?} is none of auto, pages, huge"))),
        }
    }
}
