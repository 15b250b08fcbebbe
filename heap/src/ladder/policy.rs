//! [`Policy`]: which rung of the ladder each lane-block stands on. It decides; [`super::Ladder`] does.
//!
//! A policy sees numbers only, and what it decides can cost time, never a write: whatever the rung, the next cut finds every write.

use super::State;
use super::active::{ActiveCks, ActiveRnd};
use super::adaptive::Adaptive;
use super::costs::Costs;
use super::fixed::Fixed;
use super::genetic::Genetic;
use crate::base::names::named;
use crate::base::{LaneBlock, SlotLayout};
use crate::track::TrackerKind;

/// Where a lane-block is to stand during the next epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Armed as a whole. Where lanes are mapped by pages this is [`Rung::Sparse`].
    Cold,
    /// Armed slot by slot.
    Sparse,
    /// Not armed: looked at at every cut, whether or not it was written.
    Hot(Eager),
}

/// How a hot lane-block is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eager {
    /// All its slots are copied; a checksum tells whether any was written.
    Copy,
    /// Its slots are compared with a copy of what they were at the last cut, and the changed ones copied. If there is no room for that copy
    /// ([`Seen::room`]), this is [`Eager::Copy`].
    Compare,
    /// The same for one epoch, to count what is written; some room is kept for this.
    Count,
}

/// Room for the copies that hot lane-blocks are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// There is none.
    None,
    /// For [`Eager::Count`].
    Count,
    /// For [`Eager::Compare`] as well.
    Compare,
}

/// What is known of the writes to a lane-block in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many of its slots.
    Exactly(u16),
    /// At least one of its slots: it was cold and woke, or it was copied and had changed.
    Some,
}

/// One lane-block at one cut.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The state it had during the epoch that the cut ends. [`State::Young`] if it has just been filled.
    pub state: State,
    /// What was written.
    pub written: Written,
    /// Whether it can be compared from now on.
    pub room: Room,
}

/// Decides on rungs.
///
/// Each cut asks about the lane-blocks that are hot, then about those that are sparse, woken, or filled since the last one, each in ascending order; not about cold ones that nobody
/// wrote to. One policy serves one zone.
pub trait Policy: Send {
    /// Where `at` is to stand from now on.
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung;

    /// The cut has asked all that it had to ask.
    fn end_epoch(&mut self) {}

    /// How many of the `cold` lane-blocks that nobody wrote to may become sparse before they wake. Asked before `end_epoch`.
    fn refine_cold(&mut self, cold: u64) -> u32 {
        let _ = cold;
        0
    }

    /// Whether `at`, which is cold and has not been written, is one of these.
    fn refines(&self, at: LaneBlock) -> bool {
        let _ = at;
        false
    }

    /// Whether sparse lane-blocks are to be made cheaper to write ([`WriteTracker::fill`](crate::track::WriteTracker::fill)).
    fn fills(&self) -> bool {
        false
    }

    /// Bytes of memory that the policy takes.
    fn memory_bytes(&self) -> usize;
}

/// The policies that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// strewn's own: what each rung would have cost lately, weighed lane-block by lane-block; the cheapest is taken.
    #[default]
    Adaptive,
    /// Every slot is armed on its own, from its first write after birth or recovery on.
    Fine,
    /// Every lane-block is armed as a whole, always; a write takes all its slots.
    Coarse,
    /// Speculative Memory Checkpointing's Active-RND: a bounded list of what was written lately is copied eagerly; a random member leaves.
    ActiveRnd,
    /// Speculative Memory Checkpointing's Active-CKS: what was written is copied eagerly until its checksum has not changed for 5 epochs.
    ActiveCks,
    /// Speculative Memory Checkpointing's genetic estimator: the eagerly copied set is evolved over early epochs.
    Genetic,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Adaptive, Self::Fine, Self::Coarse, Self::ActiveRnd, Self::ActiveCks, Self::Genetic];
}

impl PolicyKind {
    /// A policy of this kind for a zone of slots of `layout`, watched by `tracker`, whose lane-blocks can be armed as a whole if `coarse`.
    pub(crate) fn make(self, layout: SlotLayout, tracker: TrackerKind, coarse: bool) -> Box<dyn Policy> {
        match self {
            Self::Adaptive => Box::new(Adaptive::new(layout, Costs::new(layout, tracker, coarse))),
            Self::Fine => Box::new(Fixed(Rung::Sparse)),
            Self::Coarse => Box::new(Fixed(Rung::Cold)),
            Self::ActiveRnd => Box::new(ActiveRnd::new()),
            Self::ActiveCks => Box::new(ActiveCks::new()),
            Self::Genetic => Box::new(Genetic::new()),
        }
    }
}

named!(
    PolicyKind,
    "policy",
    Adaptive = "adaptive",
    Fine = "fine",
    Coarse = "coarse",
    ActiveRnd = "active-rnd",
    ActiveCks = "active-cks",
    Genetic = "genetic",
);
