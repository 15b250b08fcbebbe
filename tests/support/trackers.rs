//! Which trackers a suite runs with.

use crate::process::skip;
use strewn::{HeapOptions, TrackerKind, probe};

const ALL: [TrackerKind; 3] = [TrackerKind::Async, TrackerKind::Signal, TrackerKind::Page];

/// The trackers to test: the one that `STREWN_TRACKER` names, whatever the kernel has; else all that the kernel has.
///
/// # Panics
/// If `STREWN_TRACKER` names none.
pub fn trackers() -> Vec<TrackerKind> {
    if let Some(name) = std::env::var("STREWN_TRACKER").ok().filter(|name| !name.is_empty()) {
        return vec![name.parse().expect("STREWN_TRACKER")];
    }
    match probe().missing_for_async() {
        None => ALL.to_vec(),
        Some((feature, why)) => {
            skip(&format!("the async and page trackers: this kernel lacks {feature}: {why}"));
            vec![TrackerKind::Signal]
        }
    }
}

/// The first of [`trackers`], for tests that do not depend on it.
///
/// # Panics
/// As [`trackers`].
pub fn any_tracker() -> TrackerKind {
    trackers()[0]
}

/// Says aloud that lanes are not mapped by huge pages here.
///
/// # Panics
/// If STREWN_REQUIRE_KERNEL=1: then they must be.
pub fn huge_pages_are_missing(why: &str) {
    let required = std::env::var_os("STREWN_REQUIRE_KERNEL").is_some_and(|v| v == "1");
    assert!(!required, "required: lanes mapped by huge pages: {why}");
    skip(&format!("lanes mapped by huge pages: {why}"));
}

/// Options for a heap with `tracker` and a log of `log_bytes`.
pub fn options(tracker: TrackerKind, log_bytes: u64) -> HeapOptions {
    strewn::Heap::options().tracker(tracker).log_bytes(log_bytes)
}
