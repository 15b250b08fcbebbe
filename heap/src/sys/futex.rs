//! Sleeping until a word of memory changes. The kernel looks at the lower half of the word, which is its first four bytes; it needs to read them only, so an armed page is
//! no trouble, and two lanes of one word are two words to it.

use crate::base::sync::AtomicU64;

/// Sleeps until it is woken, unless the lower half of `word` is not that of `expected` any more. It may return for no reason.
pub fn wait(word: &AtomicU64, expected: u64) {
    let forever = std::ptr::null::<libc::timespec>();
    // SAFETY: the kernel reads four bytes of a word that is borrowed, so that it stays mapped. What it refuses (the word changed, a signal came) is a reason to return.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected as u32,
            forever,
        )
    };
}

/// Wakes one of those that sleep on the word at `word`, which need not be there any more.
pub fn wake_one(word: *const AtomicU64) {
    wake(word, 1);
}

/// Wakes all that sleep on the word at `word`, which need not be there any more.
pub fn wake_all(word: *const AtomicU64) {
    wake(word, i32::MAX);
}

#[cold]
fn wake(word: *const AtomicU64, most: i32) {
    // SAFETY: the kernel takes a private futex's address for a name, and does not look at the memory.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, most) };
}
