//! Refusals explained: which limit, which mapping is in the way.

use crate::base::{Error, ErrorKind, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::{fmt::Write, ops::Range};

/// Mappings named in one message.
const NAMED_MAPPINGS: usize = 4;

/// The soft limit on `resource`, unless there is none.
fn limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}

/// Refuses a file of `bytes` that RLIMIT_FSIZE forbids, before the kernel answers with SIGXFSZ.
///
/// # Errors
/// `OutOfMemory`, with the limit and its value.
pub fn check_file_size(bytes: u64, what: &str) -> Result<()> {
    match limit(Resource::RLIMIT_FSIZE) {
        Some(most) if most < bytes => Err(Error::new(
            ErrorKind::OutOfMemory,
            format!("{what} needs a file of {bytes:#x} bytes, but RLIMIT_FSIZE (ulimit -f) is {most} bytes"),
        )),
        _ => Ok(()),
    }
}

/// `error` of a call that asked for `bytes` of address space, with the limit that refused them, where one did.
pub fn explain(error: Error, bytes: u64) -> Error {
    if error.raw_os_error() != Some(libc::ENOMEM) {
        return error;
    }
    match limit(Resource::RLIMIT_AS) {
        Some(most) => error.context(format!(
            "{bytes:#x} bytes of address space are needed (not memory), and RLIMIT_AS (ulimit -v) is {most} bytes"
        )),
        None => {
            error.context(format!("no address space, or more than vm.max_map_count = {} mappings", max_map_count()))
        }
    }
}

/// The kernel's limit on the mappings of a process; its default, where it cannot be read.
pub fn max_map_count() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    text.trim().parse().unwrap_or(65_530)
}

/// The error for a window that somebody else has mapped something in.
pub fn in_use(range: Range<u64>) -> Error {
    let mut what = format!("{:#x}..{:#x} is taken by", range.start, range.end);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut there = maps.lines().filter(|line| overlaps(line, &range));
    for line in there.by_ref().take(NAMED_MAPPINGS) {
        let _ = write!(what, " [{}]", line.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    match there.count() {
        0 => (),
        more => _ = write!(what, " and {more} more mappings"),
    }
    Error::new(ErrorKind::AddressInUse, what)
}

/// Whether `line` of /proc/self/maps is a mapping in `range`.
pub(super) fn overlaps(line: &str, range: &Range<u64>) -> bool {
    let bounds = line.split(' ').next().and_then(|s| s.split_once('-'));
    let parsed = bounds.and_then(|(a, b)| Some((u64::from_str_radix(a, 16).ok()?, u64::from_str_radix(b, 16).ok()?)));
    parsed.is_some_and(|(start, end)| start < range.end && range.start < end)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn mappings_overlap_by_half_open_ranges() {
        let line = "7f00-8000 rw-p 00000000 00:00 0 [heap]";
        assert!(overlaps(line, &(0x7f00..0x7f01)) && overlaps(line, &(0x100..0x7f01)));
        assert!(!overlaps(line, &(0x8000..0x9000)) && !overlaps(line, &(0x100..0x7f00)));
        assert!(!overlaps("", &(0..1)) && !overlaps("x-y z", &(0..1)));
    }
}
