//! Every call to the operating system, and nothing else: no policy, no format.
//!
//! Built with `cfg(miri)` or `--cfg strewn_twin`, the working memory comes from [`twin`], which makes no system calls;
//! allocator, typed API, log and recovery then run under Miri. What has no twin (userfaultfd, signals) is absent there.
//!
//! Atomics and locks here are those of std, never loom's: signal handlers and fork handlers need statics. `parked.rs` alone is for models.

pub mod fork;
#[cfg(not(any(miri, strewn_twin)))]
pub mod fs;
#[cfg(not(any(loom, shuttle, miri, strewn_twin)))]
pub mod futex;
#[cfg(any(loom, shuttle, miri, strewn_twin))]
#[path = "parked.rs"]
pub mod futex;
#[cfg(not(any(miri, strewn_twin)))]
pub mod huge;
#[cfg(not(any(miri, strewn_twin)))]
mod lazy;
#[cfg(not(any(miri, strewn_twin)))]
pub mod limits;
#[cfg(not(any(miri, strewn_twin)))]
pub mod lock;
pub mod probe;

#[cfg(not(any(miri, strewn_twin)))]
pub mod memory;
#[cfg(not(any(miri, strewn_twin)))]
pub mod pages;
#[cfg(not(any(miri, strewn_twin)))]
pub mod scan;
#[cfg(not(any(miri, strewn_twin)))]
pub mod signal;
#[cfg(not(any(miri, strewn_twin)))]
pub mod uffd;

#[cfg(any(miri, strewn_twin))]
pub mod twin;
#[cfg(any(miri, strewn_twin))]
pub use twin as memory;

#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
pub mod fixtures;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod kernel_facts;
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
pub mod refuse;

#[cfg(not(any(miri, strewn_twin)))]
pub use huge::huge_lanes;
#[cfg(not(any(miri, strewn_twin)))]
pub use lazy::{LazyBytes, mark};
#[cfg(any(miri, strewn_twin))]
pub use memory::{LazyBytes, huge_lanes, mark};
pub use memory::{WorkingMemory, ZoneMapping, ptr};

/// Asks the processor to fetch the cache line at `at`. A hint: never faults, whatever `at` is.
#[inline]
pub fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect but on caches, for any address; SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
