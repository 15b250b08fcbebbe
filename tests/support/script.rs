//! What children do on command: fixed sequences of operations that print what came of them.

use crate::memory::{object, pattern, write};
use crate::trackers::options;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::alloc::Layout;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use strewn::{Result, TrackerKind};

/// Several times the largest checkpoint of a replay.
const REPLAY_LOG_BYTES: u64 = 256 << 10;
const REPLAY_CHECKPOINTS: u64 = 60;

/// Creates a heap and does what `seed` says; the same operations for the same seed. Then closes it, or does not.
///
/// # Errors
/// What the heap reports.
pub fn replay(path: &Path, tracker: TrackerKind, seed: u64, close: bool) -> Result<()> {
    let heap = options(tracker, REPLAY_LOG_BYTES).seed(seed).create(path)?;
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut live: Vec<(u64, Layout)> = Vec::new();
    for _ in 0..REPLAY_CHECKPOINTS {
        let section = heap.enter();
        for _ in 0..rng.random_range(1..60) {
            let (pick, draw) = (rng.random_range(0..live.len().max(1)), rng.random_range(0..10));
            if draw < 4 || live.is_empty() {
                let size = if draw == 0 { rng.random_range(0..9000) } else { rng.random_range(0..300) };
                let layout = Layout::from_size_align(size, 1 << rng.random_range(0..7)).expect("a small layout");
                let addr = section.alloc(layout)?.as_ptr().expose_provenance() as u64;
                // SAFETY: just allocated, for this layout.
                unsafe { write(addr, &pattern(rng.random(), size)) };
                live.push((addr, layout));
            } else if draw < 7 {
                let (addr, layout) = live[pick];
                // SAFETY: a live object of this size; there is one thread.
                unsafe { write(addr, &pattern(rng.random(), layout.size())) };
            } else {
                let (addr, _) = live.swap_remove(pick);
                // SAFETY: a live object, forgotten just now.
                unsafe { section.dealloc(object(addr)) };
            }
        }
        drop(section);
        heap.checkpoint()?;
        wait_for_fold(path);
    }
    if close { heap.close().map(|_| ()).map(drop) } else { Ok(()) }
}

/// Waits until the superblock's second copy, which is written last, names the newest log segment as the first that is
/// not folded: an append that has to outrun a fold would make the files depend on timing.
pub(crate) fn wait_for_fold(path: &Path) {
    const FIRST_SEGMENT_AT: u64 = 4096 + 56;
    let newest = newest_segment(path);
    while number(path, "superblock", FIRST_SEGMENT_AT) < newest {
        // Long enough for the sync that follows that write; if it is not, there is room in the log for a few more checkpoints.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The generation of the log segment that was started last.
pub(crate) fn newest_segment(path: &Path) -> u64 {
    const GENERATION_AT: u64 = 32;
    number(path, "log-0", GENERATION_AT).max(number(path, "log-1", GENERATION_AT))
}

fn number(path: &Path, name: &str, at: u64) -> u64 {
    let mut bytes = [0; 8];
    // A file that is not that long yet has no number.
    let read = File::open(path.join(name)).and_then(|file| file.read_exact_at(&mut bytes, at));
    read.map_or(0, |()| u64::from_le_bytes(bytes))
}
