//! System calls that the kernel refuses, for as long as a test likes: a seccomp filter on a thread that acts for the test and ends.
//!
//! A filter cannot be taken off its thread again. So what is to be refused happens on a thread of its own, and the test goes on when that has ended.

use super::{
    huge_lanes,
    probe::{probe, skip},
};
use crate::base::{BLOCK_FRAMES, PAGE};
use std::{io, mem::offset_of, ops::Range, panic::resume_unwind, thread};

/// In a step of a rule: on to the next rule. Replaced by how far that is.
const MISS: u8 = u8::MAX;

/// One kind of call, and the error that it is refused with.
#[derive(Clone, Debug)]
pub struct Refusal {
    call: libc::c_long,
    /// Arguments that tell this kind from others, which of their bits do, and what these are.
    args: Vec<(usize, u32, u32)>,
    /// If the first argument is an address: where it lies.
    addresses: Option<Range<u64>>,
    error: i32,
}

impl Refusal {
    /// Making huge pages.
    pub fn collapse(error: i32) -> Self {
        Self::advice(libc::MADV_COLLAPSE, error)
    }

    /// An advice on memory.
    pub fn advice(advice: i32, error: i32) -> Self {
        Self::new(libc::SYS_madvise, (2, u32::MAX, advice as u32), error)
    }

    /// Mapping a file, shared, over what is there: what lanes are mapped by, at first and anew.
    pub fn map_over(error: i32) -> Self {
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u32;
        Self::new(libc::SYS_mmap, (3, flags | libc::MAP_PRIVATE as u32, flags), error)
    }

    /// Tracking by userfaultfd.
    pub fn register(error: i32) -> Self {
        Self::new(libc::SYS_ioctl, (1, u32::MAX, linux_raw_sys::ioctl::UFFDIO_REGISTER), error)
    }

    /// The end of that.
    pub fn unregister(error: i32) -> Self {
        Self::new(libc::SYS_ioctl, (1, u32::MAX, linux_raw_sys::ioctl::UFFDIO_UNREGISTER), error)
    }

    /// New userfaultfds.
    pub fn userfaultfd(error: i32) -> Self {
        Self::always(libc::SYS_userfaultfd, error)
    }

    /// New threads.
    pub fn thread(error: i32) -> Self {
        Self::always(libc::SYS_clone3, error)
    }

    fn always(call: libc::c_long, error: i32) -> Self {
        Self { call, args: Vec::new(), addresses: None, error }
    }

    fn new(call: libc::c_long, arg: (usize, u32, u32), error: i32) -> Self {
        Self { call, args: vec![arg], addresses: None, error }
    }

    /// The same, but only of as many bytes as a block has, which the second argument says.
    pub fn of_a_block(mut self) -> Self {
        self.args.push((1, u32::MAX, BLOCK_FRAMES * PAGE as u32));
        self
    }

    /// The same, but only where the first argument is in `addresses`, which lie in one lane.
    pub fn within(self, addresses: Range<u64>) -> Self {
        assert_eq!(addresses.start >> 32, addresses.end >> 32, "compared by their lower halves");
        Self { addresses: Some(addresses), ..self }
    }

    /// Appends the steps that refuse such a call, and go on behind them for any other.
    fn append(&self, filter: &mut Vec<libc::sock_filter>) {
        let start = filter.len();
        filter.push(load(offset_of!(libc::seccomp_data, nr)));
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ, self.call as u32, 0, MISS));
        for (arg, mask, value) in &self.args {
            filter.push(load(half(*arg, 0)));
            filter.push(step(libc::BPF_ALU | libc::BPF_AND, *mask, 0, 0));
            filter.push(step(libc::BPF_JMP | libc::BPF_JEQ, *value, 0, MISS));
        }
        if let Some(Range { start, end }) = self.addresses {
            filter.push(load(half(0, 1)));
            filter.push(step(libc::BPF_JMP | libc::BPF_JEQ, (start >> 32) as u32, 0, MISS));
            filter.push(load(half(0, 0)));
            filter.push(step(libc::BPF_JMP | libc::BPF_JGE, start as u32, 0, MISS));
            filter.push(step(libc::BPF_JMP | libc::BPF_JGE, end as u32, MISS, 0));
        }
        filter.push(step(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | self.error as u32, 0, 0));
        let end = filter.len();
        for (at, step) in filter.iter_mut().enumerate().skip(start) {
            let skipped = (end - at - 1) as u8;
            [&mut step.jt, &mut step.jf].into_iter().filter(|to| **to == MISS).for_each(|to| *to = skipped);
        }
    }
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (code | libc::BPF_K) as u16, k, jt, jf }
}

fn load(offset: usize) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0, 0)
}

/// Where the lower (0) or upper (1) half of an argument is.
fn half(arg: usize, upper: usize) -> usize {
    let upper = if cfg!(target_endian = "little") { upper } else { 1 - upper };
    offset_of!(libc::seccomp_data, args) + arg * 8 + upper * 4
}

/// From now on, this thread's calls are refused like that.
fn install(refusals: &[Refusal]) -> io::Result<()> {
    let mut filter = Vec::new();
    refusals.iter().for_each(|refusal| refusal.append(&mut filter));
    filter.push(step(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid and outlives the calls, which concern this thread alone.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if installed { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn on_a_thread<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Whether calls can be refused here; says so aloud if not.
pub fn can_refuse() -> bool {
    let installed = on_a_thread(|| install(&[]));
    if let Err(e) = &installed {
        skip(&format!("seccomp filters: {e}"));
    }
    installed.is_ok()
}

/// Calls `act` on a thread whose calls are refused as `refusals` say. A panic there is one here. For tests that have asked [`can_refuse`].
pub fn refusing<R: Send>(refusals: &[Refusal], act: impl FnOnce() -> R + Send) -> R {
    // What is found out once for the whole process is not to be found out there.
    probe();
    huge_lanes();
    on_a_thread(|| {
        install(refusals).expect("a filter could be installed before");
        act()
    })
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// What such an advice on `len` bytes at `addr` is told.
    fn advise(addr: u64, len: usize, advice: i32) -> Option<i32> {
        // SAFETY: no byte is concerned: there are none, or the call is refused.
        let told = unsafe { libc::madvise(std::ptr::without_provenance_mut(addr as usize), len, advice) };
        (told != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
    }

    #[test]
    fn what_is_refused_is_refused_there_and_then_and_nothing_else() {
        if !can_refuse() {
            return;
        }
        let page = PAGE as u64;
        let [start, end] = [0x30_1000_0000, 0x30_1000_0000 + 4 * page];
        let refusals = [
            Refusal::advice(libc::MADV_NORMAL, libc::ENOMEM).within(start..end),
            Refusal::advice(libc::MADV_RANDOM, libc::EPERM),
            Refusal::advice(libc::MADV_WILLNEED, libc::ENOSYS).of_a_block(),
        ];
        let ask = || {
            let normal = [start - page, start, end - page, end, start + (1 << 32)];
            let others = [libc::MADV_RANDOM, libc::MADV_SEQUENTIAL, libc::MADV_WILLNEED];
            (normal.map(|addr| advise(addr, 0, libc::MADV_NORMAL)), others.map(|advice| advise(start, 0, advice)))
        };
        let normal = [None, Some(libc::ENOMEM), Some(libc::ENOMEM), None, None];
        assert_eq!(refusing(&refusals, ask), (normal, [Some(libc::EPERM), None, None]));
        let block = || advise(start, BLOCK_FRAMES as usize * PAGE, libc::MADV_WILLNEED);
        assert_eq!(refusing(&refusals, block), Some(libc::ENOSYS));
        assert_eq!(ask(), ([None; 5], [None; 3]), "this thread has no filter");
    }

    #[test]
    fn a_panic_there_is_one_here() {
        if can_refuse() {
            let panic = std::panic::catch_unwind(|| refusing(&[], || panic!("there"))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"there"));
        }
    }
}
