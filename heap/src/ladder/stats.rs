//! What the ladder counts.

/// The granularity ladder of a heap: where its lane-blocks stand now, and what happened since the heap was opened.
///
/// A lane-block is slot *j* of 512 neighbouring frames, which is what is armed, woken or copied together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LadderStats {
    /// Blocks of 512 frames that are huge pages.
    pub huge_blocks: u64,
    /// Lane-blocks that are being filled, not armed yet.
    pub young: u64,
    /// Lane-blocks armed as a whole.
    pub cold: u64,
    /// Lane-blocks armed slot by slot.
    pub sparse: u64,
    /// Lane-blocks that are not armed, but looked at at every cut.
    pub hot: u64,
    /// Bytes of the copies that hot and young lane-blocks are compared with.
    pub shadow_bytes: u64,
    /// Write faults that cuts found: slots of sparse lane-blocks, and cold lane-blocks that woke.
    pub faults: u64,
    /// Cold lane-blocks that were written to.
    pub wakes: u64,
    /// Calls that looked for written pages.
    pub scans: u64,
    /// Slots of sparse lane-blocks that were looked at by these.
    pub slots_scanned: u64,
    /// Cold lane-blocks that were looked at by these.
    pub cold_scanned: u64,
    /// Slots that were copied without knowing whether they had been written.
    pub eager_copies: u64,
    /// Slots that were compared to find out whether they had been written.
    pub eager_compares: u64,
    /// Mispredictions: lane-blocks that were not hot and were written, counted once an epoch.
    pub written_not_predicted: u64,
    /// Mispredictions: lane-blocks that were hot and were not written, counted once an epoch.
    pub predicted_not_written: u64,
    /// Lane-blocks that went from armed as a whole to armed slot by slot.
    pub refined: u64,
    /// How often the page table of one of them was to be filled, so that a first write faults once and not twice.
    pub filled: u64,
    /// Lane-blocks whose pages were replaced by one huge page.
    pub coarsened: u64,
}

impl LadderStats {
    /// Adds what another zone counts.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.huge_blocks, other.huge_blocks),
            (&mut self.young, other.young),
            (&mut self.cold, other.cold),
            (&mut self.sparse, other.sparse),
            (&mut self.hot, other.hot),
            (&mut self.shadow_bytes, other.shadow_bytes),
            (&mut self.faults, other.faults),
            (&mut self.wakes, other.wakes),
            (&mut self.scans, other.scans),
            (&mut self.slots_scanned, other.slots_scanned),
            (&mut self.cold_scanned, other.cold_scanned),
            (&mut self.eager_copies, other.eager_copies),
            (&mut self.eager_compares, other.eager_compares),
            (&mut self.written_not_predicted, other.written_not_predicted),
            (&mut self.predicted_not_written, other.predicted_not_written),
            (&mut self.refined, other.refined),
            (&mut self.filled, other.filled),
            (&mut self.coarsened, other.coarsened),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}
