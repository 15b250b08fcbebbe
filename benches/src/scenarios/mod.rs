//! The scenarios, one a module. Each says at its top what it measures, how, and what it leaves out.

pub mod alloc;
pub mod checkpoint_bytes;
pub mod first_write;
pub mod footprint;
pub mod ladder;
pub mod pause;
pub mod pause_scale;
pub mod read;
pub mod typed;

use crate::Scale;
use crate::measure::Rounds;
use crate::report::Report;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strewn::TrackerKind;

/// Where and how much to measure.
pub struct Setting {
    /// How much.
    pub scale: Scale,
    /// The directory for heaps.
    pub dir: PathBuf,
}

/// One claim, or a few that are measured together.
pub struct Scenario {
    /// Its name on the command line, and the first part of its headlines' names.
    pub name: &'static str,
    /// What it measures, in a line.
    pub what: &'static str,
    /// Measures it.
    pub run: fn(&Setting) -> Result<Report>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario { name: "first-write", what: "first write of an object in an epoch, by tracker", run: first_write::run },
    Scenario {
        name: "checkpoint-bytes",
        what: "bytes written for each byte modified, and time, against page-granular checkpoints",
        run: checkpoint_bytes::run,
    },
    Scenario { name: "pause", what: "how long a cut stops the program, and what for", run: pause::run },
    Scenario {
        name: "pause-scale",
        what: "how long a cut stops the program, from 10^4 to 10^7 live objects",
        run: pause_scale::run,
    },
    Scenario { name: "alloc", what: "allocate and free, against malloc and mimalloc", run: alloc::run },
    Scenario {
        name: "footprint",
        what: "mappings, page tables, bookkeeping and memory of a million objects",
        run: footprint::run,
    },
    Scenario { name: "read", what: "reads through lanes and the dense lane, against boxes", run: read::run },
    Scenario {
        name: "typed",
        what: "PBox, PVec and PHashMap against Box, Vec and hashbrown, and two ways to catch writes",
        run: typed::run,
    },
    Scenario {
        name: "ladder",
        what: "what the granularity ladder gains, and how well its policies choose under five write patterns",
        run: ladder::run,
    },
];

impl Setting {
    /// How often to measure one of many configurations: `repeats` times, but not for much longer than `quick_ms` if time is short.
    pub fn rounds(&self, warm: usize, repeats: usize, quick_ms: u64) -> Rounds {
        let patience = self.scale.pick(Duration::ZERO, Duration::from_millis(quick_ms), Duration::MAX);
        Rounds { warm, repeats, patience }
    }

    /// A fresh directory for the heaps of one step; removed with all that is in it when the result is dropped.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.dir).with_context(|| format!("create a directory in {}", self.dir.display()))
    }

    /// Where in `scratch` the heap of `side` goes.
    pub fn heap_path(scratch: &Path, side: &str) -> PathBuf {
        scratch.join(format!("{side}.heap"))
    }
}

/// The tracker that `STREWN_TRACKER` names, if it names one.
pub fn tracker_from_environment() -> Result<Option<TrackerKind>> {
    match std::env::var("STREWN_TRACKER") {
        Ok(name) if !name.is_empty() => Ok(Some(name.parse()?)),
        _ => Ok(None),
    }
}
