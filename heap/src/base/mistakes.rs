//! [`Mistake`]: what a model can have the engine do wrong, to show that the model would notice.
//!
//! Each is made at one place of the code that it is about. Outside of models none ever is, and the compiler leaves it out.

/// One way to get a concurrent protocol wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(any(miri, strewn_twin), allow(dead_code, reason = "the signal tracker has no twin"))]
pub enum Mistake {
    /// `announce` stores, and does not see to it that later loads come later.
    AnnouncesUnfenced,
    /// `Gate::enter` looks whether the gate is closed before it says that it is inside, not after.
    GateLooksFirst,
    /// `Gate::leave` does not wake the cut that waits for it.
    GateLeavesSilently,
    /// `Gate::close` looks at the turnstiles first, and closes then.
    GateClosesLast,
    /// `Turnstile::still` counts how often the thread went in, and not how often it went out.
    GateCountsEntries,
    /// `Turnstile::still` does not acquire what the thread did inside.
    GateStillUnordered,
    /// A thread that joins does not wait for the cut that is on.
    ThreadJoinsStoppedWorld,
    /// A thread takes over what another left without acquiring it.
    ThreadTakenUnordered,
    /// What a member that is dropped had moved is forgotten.
    ThreadMovesForgotten,
    /// A member that is taken over stays abandoned.
    ThreadTakenTwice,
    /// The cut looks into each cache once, before and after in one pass.
    CutSettlesInOnePass,
    /// The cut takes a cache that was not used since the last one for empty.
    CutForgetsRest,
    /// A batch that is given back stays in the cache as well.
    CacheKeepsBatch,
    /// A freed slot does not lie in the cache of the thread that frees it.
    CacheLosesFreed,
    /// `Pending::resolve` wakes nobody.
    TicketWakesNobody,
    /// `Pending::wait` does not look again before it sleeps.
    TicketLooksOnce,
    /// The writer does not tell that there is room in the queue again.
    WriterHidesRoom,
    /// Records queued behind one that failed are appended.
    WriterGoesOn,
    /// A cut prepared before a failure is appended after it.
    WriterForgetsFailure,
    /// A ticket is resolved before its record is owed.
    WriterOwesLate,
    /// After a panic the store is used again.
    WriterOutlivesPanic,
    /// The writer is told to stop, but not woken.
    WriterStopsSilently,
    /// The end of a fold is not announced.
    FoldEndsSilently,
    /// A fold that panicked counts as running for ever.
    FoldPanicsSilently,
    /// The sealed segment counts as free while it is being folded.
    FoldFreesEarly,
    /// A fold starts without saying that it runs.
    FoldRunsUnseen,
    /// A failed sync of a fold does not poison.
    FoldIgnoresPoison,
    /// The ticker is told to stop, but not woken.
    TickerStopsSilently,
    /// The ticker does not look whether it was stopped before it sleeps.
    TickerSleepsBlindly,
    /// The last failure of a ticker replaces the first.
    TickerForgetsFirst,
    /// The handler marks a page before it opens it.
    MarksBeforeOpening,
    /// The harvest arms pages before it takes their marks.
    ArmsBeforeTaking,
    /// The harvest does not wait for the handlers that are under way.
    HarvestWaitsForNobody,
    /// The harvest waits for the handlers of one phase only.
    HarvestWaitsForOnePhase,
    /// The summary bit of a word is cleared after its marks were taken.
    SummaryClearedLast,
    /// The marks of a zone are published without release.
    ZonePublishedUnordered,
    /// Two trackers that claim one zone are not kept apart.
    ZoneClaimedTwice,
    /// A lock that another opening of the heap left held counts as held.
    LockRemembers,
    /// Whoever waits for a lock does not say so.
    LockWaitsUnseen,
    /// Whoever releases a lock wakes nobody.
    LockWakesNobody,
    /// A lock is released without release.
    LockReleasesUnordered,
    /// A writer takes a lock that readers have.
    WriterIgnoresReaders,
    /// An owner looks whether it is the last before it leaves.
    CountLooksFirst,
    /// An owner leaves without release.
    CountReleasesUnordered,
    /// A program passes an address to another thread without telling it what came before.
    #[cfg(all(test, any(loom, shuttle)))]
    AddressPassedUnordered,
}

impl Mistake {
    /// Whether it is to be made. False outside of models.
    #[cfg(not(all(test, any(loom, shuttle))))]
    #[inline(always)]
    pub const fn is_made(self) -> bool {
        false
    }

    /// Whether the model that runs in this thread makes it.
    #[cfg(all(test, any(loom, shuttle)))]
    pub fn is_made(self) -> bool {
        super::models::made() == Some(self)
    }
}
