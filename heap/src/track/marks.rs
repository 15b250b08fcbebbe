//! The signal tracker's marks: which pages are tracked, which are dirty, shared with the signal handler.
//!
//! One [`ZoneMarks`] a zone of the process, made when something in the zone is first tracked. They are never freed and
//! hold no pointer that changes, so the handler may use what it found for as long as it likes: there is no reclamation
//! to race with. A forked child makes its own, as the old ones may have been copied in the middle of anything.
//!
//! ```text
//! tracked   one bit a page         handler: is this fault ours?      16 MiB of address space a zone,
//! dirty     one bit a page         written since armed               backed only where pages are tracked
//! summary   one bit a dirty word   where to look for dirty bits
//! ```
//!
//! M1. A dirty word that is not zero has its summary bit set, but while somebody is between the two.
//! M2. Only the holder of [`Harvest`] clears a dirty or summary bit.

#[cfg(not(any(loom, shuttle)))]
use crate::sys::pages::lazy_words;
use crate::{
    base::{
        Error, ErrorKind, Mistake, PAGE_SHIFT, Result, ZONE_SHIFT,
        sync::{AtomicPtr, AtomicU32, AtomicU64, Guarded, Mutex, MutexGuard, Ordering, global, lock, thread},
    },
    sys::fork::fork_generation,
};
use std::{ops::Range, ptr};

/// Zones of the table: every one that the address layout can use.
const ZONES: usize = if cfg!(any(loom, shuttle)) { 2 } else { 160 };
const PAGES: u64 = if cfg!(any(loom, shuttle)) { 128 } else { 1 << (ZONE_SHIFT - PAGE_SHIFT) };
const WORDS: usize = (PAGES / 64) as usize;
/// Runs that one batch of a harvest holds; few in tests, so that several batches are common.
const RUNS: usize = if cfg!(test) { 40 } else { 1024 };
/// The most runs that one word can add.
const RUNS_OF_A_WORD: usize = 32;

global!(static ALL: Registry = Registry::new());

/// The marks of all zones of the process.
struct Registry {
    zones: [AtomicPtr<ZoneMarks>; ZONES],
    claims: Mutex<()>,
}

/// The marks of one zone.
pub struct ZoneMarks {
    base: u64,
    generation: u32,
    /// The tracker that tracks in this zone; 0 for none.
    owner: AtomicU64,
    tracked: &'static [AtomicU64],
    dirty: &'static [AtomicU64],
    summary: &'static [AtomicU64],
    /// Handlers that have entered and not left, by the phase in which they entered.
    active: [AtomicU32; 2],
    phase: AtomicU32,
    /// The last address at which an untracked page of the zone was hit.
    last_stray: AtomicU64,
    runs: Mutex<Vec<Range<u64>>>,
    /// Lets models check that whoever finds the zone finds all of it.
    made: Guarded,
}

/// The marks of the zone of `addr`, if something in it was ever tracked by this process. Safe in a signal handler.
pub fn find(addr: u64) -> Option<&'static ZoneMarks> {
    // Acquire pairs with the Release in `claim`.
    let zone = ALL.zones.get((addr >> ZONE_SHIFT) as usize)?.load(Ordering::Acquire);
    // SAFETY: the table holds null or leaked boxes.
    let zone = unsafe { zone.as_ref() }?;
    zone.made.read();
    (zone.generation == fork_generation()).then_some(zone)
}

/// The marks of the zone that `range` lies in, owned by the tracker `id` from now on.
///
/// # Errors
/// `InvalidArgument` if the range is in no single zone, `AddressInUse` if another tracker owns the zone, `OutOfMemory`.
pub fn claim(range: &Range<u64>, id: u64) -> Result<&'static ZoneMarks> {
    let _claims = (!Mistake::ZoneClaimedTwice.is_made()).then(|| lock(&ALL.claims));
    let number = (range.start >> ZONE_SHIFT) as usize;
    if number >= ZONES || range.is_empty() || (range.end - 1) >> ZONE_SHIFT != number as u64 {
        let what = format!("{:#x}..{:#x} does not lie in one zone", range.start, range.end);
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    let zone = match find(range.start) {
        Some(zone) => zone,
        None => {
            let zone: &'static ZoneMarks = Box::leak(Box::new(ZoneMarks::new(number)?));
            let order = if Mistake::ZonePublishedUnordered.is_made() { Ordering::Relaxed } else { Ordering::Release };
            ALL.zones[number].store(ptr::from_ref(zone).cast_mut(), order);
            zone
        }
    };
    // Relaxed: claims are serialised by the lock; only the tracker `id` itself asks whether it is the owner.
    match zone.owner.load(Ordering::Relaxed) {
        owner if owner == id => (),
        0 => zone.owner.store(id, Ordering::Relaxed),
        _ => {
            let what = format!("zone {number} is tracked by another signal tracker of this process");
            return Err(Error::new(ErrorKind::AddressInUse, what));
        }
    }
    Ok(zone)
}

/// The zones that the tracker `id` owns.
pub fn owned_by(id: u64) -> impl Iterator<Item = &'static ZoneMarks> {
    (0..ZONES as u64).filter_map(|number| find(number << ZONE_SHIFT)).filter(move |zone| zone.is_owned_by(id))
}

impl Registry {
    #[cfg(not(any(loom, shuttle)))]
    const fn new() -> Self {
        Self { zones: [const { AtomicPtr::new(ptr::null_mut()) }; ZONES], claims: Mutex::new(()) }
    }

    #[cfg(any(loom, shuttle))]
    fn new() -> Self {
        Self { zones: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), claims: Mutex::new(()) }
    }
}

/// Words of a model, which are no plain memory.
#[cfg(any(loom, shuttle))]
fn lazy_words(words: usize) -> Result<&'static [AtomicU64]> {
    Ok(Vec::leak((0..words).map(|_| AtomicU64::new(0)).collect()))
}

impl ZoneMarks {
    fn new(number: usize) -> Result<Self> {
        let made = Guarded::default();
        made.change();
        Ok(Self {
            base: (number as u64) << ZONE_SHIFT,
            generation: fork_generation(),
            owner: AtomicU64::new(0),
            tracked: lazy_words(WORDS)?,
            dirty: lazy_words(WORDS)?,
            summary: lazy_words(WORDS.div_ceil(64))?,
            active: [AtomicU32::new(0), AtomicU32::new(0)],
            phase: AtomicU32::new(0),
            last_stray: AtomicU64::new(0),
            runs: Mutex::new(Vec::with_capacity(RUNS)),
            made,
        })
    }

    pub fn is_owned_by(&self, id: u64) -> bool {
        self.owner.load(Ordering::Relaxed) == id
    }

    /// Ends the ownership.
    pub fn release(&self) {
        self.owner.store(0, Ordering::Relaxed);
    }

    pub fn pages(&self) -> u64 {
        PAGES
    }

    /// Whether all of `range` is addresses of this zone.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        range.start >= self.base && range.start <= range.end && range.end - self.base <= 1 << ZONE_SHIFT
    }

    pub fn page_of(&self, addr: u64) -> u64 {
        (addr - self.base) >> PAGE_SHIFT
    }

    pub fn pages_of(&self, range: &Range<u64>) -> Range<u64> {
        self.page_of(range.start)..self.page_of(range.end)
    }

    pub fn addresses(&self, pages: &Range<u64>) -> Range<u64> {
        self.base + (pages.start << PAGE_SHIFT)..self.base + (pages.end << PAGE_SHIFT)
    }

    /// Starts tracking `pages`, all dirty.
    pub fn add(&self, pages: &Range<u64>) {
        self.mark(pages);
        // Release pairs with `is_tracked`; the page cannot fault before its first harvest anyway.
        words(pages).for_each(|(word, mask)| _ = self.tracked[word].fetch_or(mask, Ordering::Release));
    }

    /// Stops tracking `pages`, which are writable.
    pub fn forget(&self, pages: &Range<u64>) {
        let _harvest = self.start_harvest();
        words(pages).for_each(|(word, mask)| _ = self.tracked[word].fetch_and(!mask, Ordering::SeqCst));
        // A handler that still saw them tracked marks them at the latest now.
        self.wait_for_handlers();
        words(pages).for_each(|(word, mask)| _ = self.take_word(word, mask));
    }

    pub fn is_tracked(&self, page: u64) -> bool {
        self.tracked[(page / 64) as usize].load(Ordering::SeqCst) & (1 << (page % 64)) != 0
    }

    /// The longest run of tracked pages around `page` within `bounds`. Safe in a signal handler.
    pub fn tracked_around(&self, page: u64, bounds: Range<u64>) -> Range<u64> {
        let word = |page: u64| self.tracked[(page / 64) as usize].load(Ordering::SeqCst);
        let (mut start, mut end) = (page, page + 1);
        while start > bounds.start && self.is_tracked(start - 1) {
            let whole = start % 64 == 0 && start - bounds.start >= 64 && word(start - 1) == u64::MAX;
            start -= if whole { 64 } else { 1 };
        }
        while end < bounds.end && self.is_tracked(end) {
            let whole = end % 64 == 0 && bounds.end - end >= 64 && word(end) == u64::MAX;
            end += if whole { 64 } else { 1 };
        }
        start..end
    }

    /// Calls `f` with stretches that together are all tracked pages.
    pub fn each_tracked(&self, mut f: impl FnMut(Range<u64>)) {
        let mut page = 0;
        while page < PAGES {
            match self.tracked[(page / 64) as usize].load(Ordering::SeqCst) >> (page % 64) {
                0 => page = (page / 64 + 1) * 64,
                bits => {
                    let run = self.tracked_around(page + u64::from(bits.trailing_zeros()), page..PAGES);
                    page = run.end;
                    f(run);
                }
            }
        }
    }

    /// Marks `pages` dirty; gives how many were not. Safe in a signal handler.
    pub fn mark(&self, pages: &Range<u64>) -> u64 {
        let mut fresh = 0;
        for (word, mask) in words(pages) {
            // In this order, for M1; AcqRel as `take_word` argues.
            let before = self.dirty[word].fetch_or(mask, Ordering::AcqRel);
            self.summary[word / 64].fetch_or(1 << (word % 64), Ordering::AcqRel);
            fresh += u64::from((mask & !before).count_ones());
        }
        fresh
    }

    /// Clears the marks of `mask` in a dirty word; gives those that were set.
    ///
    /// The summary bit is cleared first. If `mark`'s dirty bit comes too late to be seen here, `mark` reads the word as
    /// this wrote it (AcqRel on both), so its summary bit comes after the clearing, and stays: M1.
    fn take_word(&self, word: usize, mask: u64) -> u64 {
        let summary = &self.summary[word / 64];
        let late = Mistake::SummaryClearedLast.is_made().then(|| self.dirty[word].fetch_and(!mask, Ordering::AcqRel));
        summary.fetch_and(!(1 << (word % 64)), Ordering::AcqRel);
        let before = late.unwrap_or_else(|| self.dirty[word].fetch_and(!mask, Ordering::AcqRel));
        if before & !mask != 0 {
            summary.fetch_or(1 << (word % 64), Ordering::AcqRel);
        }
        before & mask
    }

    /// Whether this is the first of two faults in a row at `addr`, an untracked page of the zone. Such a fault may have been
    /// overtaken by `untrack`, and then succeeds when it is tried again; a second one is a stray access.
    pub fn first_fault_of(&self, addr: u64) -> bool {
        self.last_stray.swap(addr, Ordering::SeqCst) != addr
    }

    /// Counts a handler in; what it gives goes to `leave_handler`.
    pub fn enter_handler(&self) -> usize {
        let phase = (self.phase.load(Ordering::SeqCst) & 1) as usize;
        self.active[phase].fetch_add(1, Ordering::SeqCst);
        phase
    }

    pub fn leave_handler(&self, phase: usize) {
        self.active[phase].fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits for every handler that entered before the call. Under the harvest lock.
    ///
    /// New ones enter the other phase, so the wait ends. A handler that read the phase before a change and counts itself in
    /// after it may be in either, so both are waited for.
    fn wait_for_handlers(&self) {
        let phases = if Mistake::HarvestWaitsForOnePhase.is_made() { 1 } else { 2 };
        for _ in 0..phases {
            let phase = (self.phase.fetch_add(1, Ordering::SeqCst) & 1) as usize;
            while self.active[phase].load(Ordering::SeqCst) != 0 {
                thread::yield_now();
            }
        }
    }

    /// Waits for earlier harvests of the zone, and for the handlers that are under way.
    pub fn start_harvest(&self) -> Harvest<'_> {
        let runs = lock(&self.runs);
        if !Mistake::HarvestWaitsForNobody.is_made() {
            self.wait_for_handlers();
        }
        Harvest { zone: self, runs }
    }
}

/// The right to take marks of a zone.
pub struct Harvest<'a> {
    zone: &'a ZoneMarks,
    runs: MutexGuard<'a, Vec<Range<u64>>>,
}

impl Harvest<'_> {
    /// Takes the marks of `pages`, from the first on, as long as there is room for runs. Gives the page where it stopped.
    pub fn take(&mut self, pages: &Range<u64>) -> u64 {
        self.runs.clear();
        let mut from = pages.start;
        while let Some(page) = self.zone.next_marked(from..pages.end) {
            let word = page / 64;
            from = ((word + 1) * 64).min(pages.end);
            let mask = mask_of(&(page.max(word * 64)..from), word);
            let taken = self.zone.take_word(word as usize, mask);
            push_runs(&mut self.runs, word * 64, taken);
            if self.runs.len() + RUNS_OF_A_WORD > RUNS {
                return from;
            }
        }
        pages.end
    }

    /// What the last `take` found, in ascending order.
    pub fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }
}

impl ZoneMarks {
    /// The first page of `pages` that is in a word with a summary bit.
    fn next_marked(&self, pages: Range<u64>) -> Option<u64> {
        if pages.is_empty() {
            return None;
        }
        let (mut word, last) = ((pages.start / 64) as usize, ((pages.end - 1) / 64) as usize);
        while word <= last {
            match self.summary[word / 64].load(Ordering::Acquire) >> (word % 64) {
                0 => word = (word / 64 + 1) * 64,
                bits => {
                    word += bits.trailing_zeros() as usize;
                    return (word <= last).then(|| pages.start.max(word as u64 * 64));
                }
            }
        }
        None
    }
}

/// The words that `pages` lie in, each with the bits of those pages.
fn words(pages: &Range<u64>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let pages = pages.clone();
    (pages.start / 64..pages.end.div_ceil(64)).map(move |word| (word as usize, mask_of(&pages, word)))
}

/// The bits of `pages` in `word`, in which at least one of them lies.
fn mask_of(pages: &Range<u64>, word: u64) -> u64 {
    let from = pages.start.saturating_sub(word * 64);
    let to = (pages.end - word * 64).min(64);
    (u64::MAX >> (64 - (to - from))) << from
}

/// Appends the runs of set bits; one that continues the last run lengthens it.
fn push_runs(runs: &mut Vec<Range<u64>>, first_page: u64, mut bits: u64) {
    while bits != 0 {
        let start = bits.trailing_zeros();
        let len = (bits >> start).trailing_ones();
        bits &= (u64::MAX).checked_shl(start + len).unwrap_or(0);
        let run = first_page + u64::from(start)..first_page + u64::from(start + len);
        match runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => runs.push(run),
        }
    }
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
