//! What reading a heap's files may cost: memory, counted by a global allocator, and processor time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// Bytes that this thread has allocated, less those that it has freed, whoever allocated them.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting. A program that is to be measured makes it its `#[global_allocator]`.
pub struct Counting;

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes to the system's allocator with what the caller vouches for; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The old and the new block may both be there for a moment.
        count(new_size as isize);
        count(-(layout.size() as isize));
        // SAFETY: passed on.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    let refused = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(refused, 0, "clock_gettime");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs `f`, which works on this thread alone, and which may have `bytes_max` more bytes than there are now, and take `time_max`.
///
/// # Panics
/// If it takes more.
pub fn within<T>(bytes_max: usize, time_max: Duration, f: impl FnOnce() -> T) -> T {
    let (before, start) = (LIVE.get(), cpu_time());
    PEAK.set(before);
    let result = f();
    let (time, bytes) = (cpu_time() - start, (PEAK.get() - before) as usize);
    assert!(bytes <= bytes_max, "{bytes} bytes of memory, {bytes_max} are justified");
    assert!(time <= time_max, "{time:?} of processor time");
    result
}

/// Whether [`Counting`] is this program's allocator: else nothing is measured.
pub fn is_counting() -> bool {
    let before = LIVE.get();
    let probe = vec![0u8; 64 << 10];
    let counted = LIVE.get() >= before + probe.len() as isize;
    drop(std::hint::black_box(probe));
    counted
}
