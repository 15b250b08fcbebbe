//! The seccomp filter of a traced process: at which calls it stops.

use std::io;
use std::mem::offset_of;

/// A call by its number; only where one argument, by its number, has this value in its lower half, if one is given.
pub type Kind = (i64, Option<(usize, u32)>);

/// Stops at every call but the `harmless` ones; at calls of the kind `mark` always.
pub fn stopping_but_at(harmless: &[Kind], mark: Kind) -> Vec<libc::sock_filter> {
    let stop = step(libc::BPF_RET, libc::SECCOMP_RET_TRACE, 0, 0);
    let pass = step(libc::BPF_RET, libc::SECCOMP_RET_ALLOW, 0, 0);
    let mut steps = rule(mark, stop);
    harmless.iter().for_each(|kind| steps.extend(rule(*kind, pass)));
    steps.push(stop);
    steps
}

/// Does `then` with calls of one kind, and goes on behind it with others.
fn rule((call, argument): Kind, then: libc::sock_filter) -> Vec<libc::sock_filter> {
    let equal = |value: u32, otherwise: u8| step(libc::BPF_JMP | libc::BPF_JEQ, value, 0, otherwise);
    let mut steps = vec![load(offset_of!(libc::seccomp_data, nr)), equal(call as u32, 1)];
    if let Some((i, value)) = argument {
        steps[1].jf = 3;
        steps.extend([load(offset_of!(libc::seccomp_data, args) + i * 8), equal(value, 1)]);
    }
    steps.push(then);
    steps
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (code | libc::BPF_K) as u16, k, jt, jf }
}

fn load(offset: usize) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0, 0)
}

/// From now on, this thread and what it starts stop there.
///
/// # Errors
/// If the kernel refuses filters.
pub fn install(steps: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program, which outlives the calls; they concern this thread alone.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    if installed { Ok(()) } else { Err(io::Error::last_os_error()) }
}
