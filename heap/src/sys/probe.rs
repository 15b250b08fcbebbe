//! What this kernel can do for this process, found out by trying it once.

use std::{fmt, sync::OnceLock};

/// Whether the kernel has a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// It works here.
    Available,
    /// It does not, and this is why.
    Missing(String),
}

impl Feature {
    /// Whether it works here.
    pub fn is_available(&self) -> bool {
        *self == Feature::Available
    }

    pub(super) fn of<T>(tried: crate::base::Result<T>) -> Self {
        tried.map_or_else(|e| Feature::Missing(e.to_string()), |_| Feature::Available)
    }

    /// Like [`of`](Self::of); notes in `passing` if trying it again later may find something else, because descriptors or memory ran out.
    #[cfg(not(any(miri, strewn_twin)))]
    fn noting<T>(tried: crate::base::Result<T>, passing: &mut bool) -> Self {
        let error = tried.as_ref().err().and_then(crate::base::Error::raw_os_error);
        *passing |= matches!(error, Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::EINTR));
        Self::of(tried)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Feature::Available => f.write_str("available"),
            Feature::Missing(why) => write!(f, "missing: {why}"),
        }
    }
}

/// The features that strewn can make use of.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Kernel release.
    pub kernel: String,
    /// userfaultfd for this process, restricted to user-mode faults.
    pub uffd: Feature,
    /// Asynchronous write-protect, on shared memory and on pages not there yet (Linux 6.7).
    pub wp_async: Feature,
    /// The PAGEMAP_SCAN ioctl, tried on a page of a memfd (Linux 6.7).
    pub pagemap_scan: Feature,
    /// MADV_POPULATE_READ (Linux 5.14). Without it pages are touched one by one.
    pub populate: Feature,
    /// MADV_COLLAPSE (Linux 6.1). Optional.
    pub collapse: Feature,
}

impl Probe {
    /// Each feature with its name, in the order of the fields.
    pub fn features(&self) -> [(&'static str, &Feature); 5] {
        [
            ("userfaultfd", &self.uffd),
            ("WP_ASYNC", &self.wp_async),
            ("PAGEMAP_SCAN", &self.pagemap_scan),
            ("MADV_POPULATE_READ", &self.populate),
            ("MADV_COLLAPSE", &self.collapse),
        ]
    }

    /// The first feature that asynchronous tracking needs and does not find, with why.
    pub fn missing_for_async(&self) -> Option<(&'static str, &str)> {
        self.features()[..3].iter().find_map(|(name, feature)| match feature {
            Feature::Available => None,
            Feature::Missing(why) => Some((*name, why.as_str())),
        })
    }
}

/// Says aloud that something is not tested here, and why; a failure if STREWN_REQUIRE_KERNEL=1, but in the twin, which has no kernel.
#[cfg(test)]
pub fn skip(why: &str) {
    let twin = cfg!(any(miri, strewn_twin));
    assert!(twin || std::env::var_os("STREWN_REQUIRE_KERNEL").is_none_or(|v| v != "1"), "required: {why}");
    println!("SKIP: {why}");
}

/// What this kernel can do. The first call tries it; later ones are free, unless it had no descriptors or no memory to try it with: then it is tried again.
pub fn probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    if let Some(probe) = PROBE.get() {
        return probe;
    }
    match detect() {
        // A few hundred bytes that are not given back, where a process is in want of far more.
        (probe, true) => Box::leak(Box::new(probe)),
        (probe, false) => PROBE.get_or_init(|| probe),
    }
}

/// The twin makes no system calls.
#[cfg(any(miri, strewn_twin))]
fn detect() -> (Probe, bool) {
    let absent = || Feature::Missing("the twin makes no system calls".to_owned());
    let kernel = "none (twin)".to_owned();
    let (uffd, wp_async, pagemap_scan, populate, collapse) = (absent(), absent(), absent(), absent(), absent());
    (Probe { kernel, uffd, wp_async, pagemap_scan, populate, collapse }, false)
}

#[cfg(not(any(miri, strewn_twin)))]
use real::detect;

#[cfg(not(any(miri, strewn_twin)))]
mod real {
    use super::{Feature, Probe};
    use crate::{
        base::{Error, ErrorKind, PAGE, Result},
        sys::{
            pages,
            scan::{NO_REGION, Pagemap},
            uffd::{FEATURES, Uffd},
        },
    };

    /// And whether something of it may pass.
    pub fn detect() -> (Probe, bool) {
        let mut passing = false;
        let probe = Probe {
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|e| format!("unknown ({e})"), |s| s.trim().to_owned()),
            uffd: Feature::noting(Uffd::offered(), &mut passing),
            wp_async: Feature::noting(wp_async(), &mut passing),
            pagemap_scan: Feature::noting(scan_one_page(), &mut passing),
            populate: Feature::noting(advice(libc::MADV_POPULATE_READ), &mut passing),
            collapse: Feature::noting(advice(libc::MADV_COLLAPSE), &mut passing),
        };
        (probe, passing)
    }

    fn unsupported(what: String) -> Error {
        Error::new(ErrorKind::Unsupported, what)
    }

    fn wp_async() -> Result<()> {
        let offered = Uffd::offered()?;
        let missing: Vec<_> = FEATURES.iter().filter(|(bit, _)| offered & bit == 0).map(|(_, name)| *name).collect();
        if !missing.is_empty() {
            return Err(unsupported(format!("userfaultfd does not offer {}", missing.join(", "))));
        }
        Uffd::new().map(|_| ())
    }

    /// Arms a page of a memfd, writes it, and sees whether the scan tells the difference.
    fn scan_one_page() -> Result<()> {
        let page = pages::ScratchPage::new()?;
        let (uffd, pagemap) = (Uffd::new()?, Pagemap::open()?);
        // SAFETY: the scratch page is a shared mapping of a memfd.
        unsafe { uffd.register(page.range())? };
        pagemap.arm(page.range())?;
        let mut regions = [NO_REGION];
        let clean = pagemap.take_written(page.range(), &mut regions)?.0.len();
        page.write();
        let written = pagemap.take_written(page.range(), &mut regions)?.0.len();
        match (clean, written) {
            (0, 1) => Ok(()),
            found => Err(unsupported(format!("PAGEMAP_SCAN found (clean, written) = {found:?} regions, not (0, 1)"))),
        }
    }

    /// An advice that the kernel does not know is refused even for no bytes at all.
    fn advice(advice: i32) -> Result<()> {
        // SAFETY: no byte is concerned.
        match unsafe { libc::madvise(std::ptr::without_provenance_mut(PAGE), 0, advice) } {
            0 => Ok(()),
            _ => Err(Error::last_os(format!("madvise {advice}"))),
        }
    }
}

#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod tests {
    use super::*;
    use crate::sys::refuse::{Refusal, can_refuse, refusing};

    #[test]
    fn what_is_missing_for_want_of_descriptors_is_not_remembered() {
        if !can_refuse() {
            return;
        }
        let tried = |error| refusing(&[Refusal::userfaultfd(error)], detect);
        for (error, passes) in [(libc::EMFILE, true), (libc::ENOMEM, true), (libc::EPERM, false), (libc::ENOSYS, false)]
        {
            let (found, passing) = tried(error);
            assert!(!found.uffd.is_available());
            assert_eq!(passing, passes, "{error}");
        }
    }
}
