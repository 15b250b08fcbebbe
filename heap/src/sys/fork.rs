//! Which process this is: a counter that grows by one in each forked child.
//!
//! A child inherits descriptors that still mean its *parent's* memory: an ioctl on an inherited userfaultfd or
//! `/proc/self/pagemap` would arm the parent's pages, a `pwrite` to the memfd would change its objects. Whoever owns such
//! a descriptor remembers the generation it was made in, and refuses to work in another.
//!
//! Only `fork` through libc is seen; a child made by the bare `clone` system call is not. `vfork` and `posix_spawn`
//! children must not run program code, and exec closes the descriptors (all are close-on-exec).

use crate::base::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the one that called [`install`] first.
#[inline]
pub fn fork_generation() -> u32 {
    // Relaxed: written only by the child's fork handler, when the child has that one thread.
    GENERATION.load(Ordering::Relaxed)
}

/// Fails in a forked child of the process that ran in `generation`.
pub fn same_process(generation: u32) -> Result<()> {
    match fork_generation() {
        now if now == generation => Ok(()),
        now => Err(Error::new(
            ErrorKind::Forked,
            format!(
                "process {} is a forked child ({} fork after the heap was opened); only the parent may use the heap",
                std::process::id(),
                now.wrapping_sub(generation)
            ),
        )),
    }
}

/// Starts counting forks. Later calls do nothing.
#[cfg(not(any(miri, strewn_twin)))]
pub fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is a function without captures that does one atomic addition, which is all that the
        // child of a threaded process may do; no other precondition.
        let refused = unsafe { pthread_atfork(None, None, Some(in_child)) };
        assert_eq!(refused, 0, "pthread_atfork: no memory for a fork handler (error {refused})");
    });
}

/// The twin does not fork.
#[cfg(any(miri, strewn_twin))]
pub fn install() {}

// POSIX; the libc crate lacks it for Linux.
#[cfg(not(any(miri, strewn_twin)))]
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> std::ffi::c_int;
}

#[cfg(not(any(miri, strewn_twin)))]
unsafe extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}
