//! Which tracker to use: names, the default, and what `open` makes of a name.

use super::{TrackerKind, WriteTracker};
use crate::{
    base::{Result, names::named},
    sys::probe::Probe,
};
use std::fmt;

named!(TrackerKind, "tracker", Async = "async", Signal = "signal", Page = "page");

impl Probe {
    /// The tracker for a new heap: the asynchronous one where the kernel has it.
    pub fn default_tracker(&self) -> TrackerKind {
        // The shadow tracker of the twin stands for any kind, and is closest to this one.
        let twin = cfg!(any(miri, strewn_twin));
        if twin || self.missing_for_async().is_none() { TrackerKind::Async } else { TrackerKind::Signal }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {}", "kernel", self.kernel)?;
        for (name, feature) in self.features() {
            writeln!(f, "{name:<20} {feature}")?;
        }
        write!(f, "{:<20} {}: ", "default tracker", self.default_tracker())?;
        match self.missing_for_async() {
            None => f.write_str("the kernel notes first writes itself, without signals"),
            Some((feature, _)) => write!(f, "the async tracker needs {feature}"),
        }
    }
}

/// A tracker of `kind` that tracks nothing yet. In the twin, the shadow tracker under that name.
///
/// # Errors
/// `Unsupported`, with the feature that the kernel lacks.
#[cfg(not(any(miri, strewn_twin)))]
pub fn open(kind: TrackerKind) -> Result<Box<dyn WriteTracker>> {
    Ok(match kind {
        TrackerKind::Async | TrackerKind::Page => Box::new(super::uffd::UffdTracker::new(kind)?),
        TrackerKind::Signal => Box::new(super::signal::SignalTracker::new()?),
    })
}

/// A tracker of `kind` that tracks nothing yet. In the twin, the shadow tracker under that name.
///
/// # Errors
/// None in the twin.
#[cfg(any(miri, strewn_twin))]
pub fn open(kind: TrackerKind) -> Result<Box<dyn WriteTracker>> {
    Ok(Box::new(super::shadow::ShadowTracker::new(kind)))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::ErrorKind;
    use crate::sys::probe::{Feature, probe};

    #[test]
    fn names_go_both_ways() {
        for kind in [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page] {
            assert_eq!(kind.to_string().parse::<TrackerKind>().unwrap(), kind);
        }
        let error = "soft-dirty".parse::<TrackerKind>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("soft-dirty"), "{error}");
    }

    #[test]
    fn a_probe_says_what_it_chose_and_why() {
        let mut probe = probe().clone();
        println!("{probe}");
        assert_eq!(probe.to_string().lines().count(), 7);
        probe.uffd = Feature::Available;
        probe.wp_async = Feature::Missing("too old".to_owned());
        assert!(probe.to_string().contains("WP_ASYNC             missing: too old"), "{probe}");
        assert!(probe.to_string().ends_with("the async tracker needs WP_ASYNC"), "{probe}");
        if !cfg!(any(miri, strewn_twin)) {
            assert_eq!(probe.default_tracker(), TrackerKind::Signal);
        }
    }
}
