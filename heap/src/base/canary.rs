//! Canaries: bugs that a suite switches on, to show that it would have caught them.
//!
//! Built without the feature `testing`, [`canary`] is false at compile time, and nothing of this is left. Which one is on holds for the
//! whole process.

/// A bug that can be switched on. Its name is the one that the suites print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Canary {
    /// The superblock is written before the image that it names is synced.
    FlipWithoutSync = 1,
    /// The superblock is written before the image that it names.
    FlipBeforeData,
    /// A segment is folded before the one that follows it is durable.
    FoldBeforeCommit,
    /// A record's checksum covers its first bytes, not its whole length.
    ChecksumWithoutLength,
    /// A checkpoint is acknowledged before its record is synced.
    AcknowledgedBeforeSync,
    /// The directory is not synced after an image file was created in it.
    FileNotSynced,
    /// The parent directory is not synced after a heap was created in it.
    CreationNotSynced,
    /// After a failed sync the store goes on as after any error.
    FailedSyncForgotten,
    /// What a crashed process may not have synced is not written again at open.
    EndNotRewritten,
    /// A scan that filled its vector is not resumed where it stopped.
    WalkEndDropped,
    /// The world goes on after it was armed again, before it was copied.
    CopiedAfterReopening,
    /// A frame's bitmap is recorded without its last new slot.
    AllocationBitLost,
    /// What a failed record held is not put into the next one.
    OwedForgotten,
    /// A slot that the log changed is compared with the image, which is older.
    ComparedWithOldImage,
    /// Of the marks of neighbouring slots, one is cleared without having been noted.
    MarkForgotten,
}

#[cfg(feature = "testing")]
impl Canary {
    /// All of them: their numbers have no gaps.
    pub const ALL: [Self; Self::MarkForgotten as usize] = [
        Self::FlipWithoutSync,
        Self::FlipBeforeData,
        Self::FoldBeforeCommit,
        Self::ChecksumWithoutLength,
        Self::AcknowledgedBeforeSync,
        Self::FileNotSynced,
        Self::CreationNotSynced,
        Self::FailedSyncForgotten,
        Self::EndNotRewritten,
        Self::WalkEndDropped,
        Self::CopiedAfterReopening,
        Self::AllocationBitLost,
        Self::OwedForgotten,
        Self::ComparedWithOldImage,
        Self::MarkForgotten,
    ];
}

crate::base::names::named!(
    Canary,
    "canary",
    FlipWithoutSync = "flip-without-sync",
    FlipBeforeData = "flip-before-data",
    FoldBeforeCommit = "fold-before-commit",
    ChecksumWithoutLength = "checksum-without-length",
    AcknowledgedBeforeSync = "acknowledged-before-sync",
    FileNotSynced = "file-not-synced",
    CreationNotSynced = "creation-not-synced",
    FailedSyncForgotten = "failed-sync-forgotten",
    EndNotRewritten = "end-not-rewritten",
    WalkEndDropped = "walk-end-dropped",
    CopiedAfterReopening = "copied-after-reopening",
    AllocationBitLost = "allocation-bit-lost",
    OwedForgotten = "owed-forgotten",
    ComparedWithOldImage = "compared-with-old-image",
    MarkForgotten = "mark-forgotten",
);

#[cfg(feature = "testing")]
mod switch {
    use super::Canary;
    use std::sync::atomic::{AtomicU8, Ordering};

    static ON: AtomicU8 = AtomicU8::new(0);

    /// Switches a bug on, or all of them off.
    pub fn set_canary(which: Option<Canary>) {
        // Relaxed, here and below: switched while nothing runs.
        ON.store(which.map_or(0, |canary| canary as u8), Ordering::Relaxed);
    }

    /// Whether this bug is on.
    #[inline]
    pub fn canary(which: Canary) -> bool {
        ON.load(Ordering::Relaxed) == which as u8
    }
}

#[cfg(feature = "testing")]
pub use switch::{canary, set_canary};

/// Whether this bug is on: never, in this build.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub const fn canary(_: Canary) -> bool {
    false
}
