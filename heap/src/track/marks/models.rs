//! Zones of the process that several trackers claim, while a handler looks for them.

use super::*;
use crate::base::models::{Model, RACE, size};

/// `trackers` claim one zone; one of them gets it. A handler finds nothing, or all of it.
fn claims(trackers: usize) {
    let base = 1 << ZONE_SHIFT;
    let page = base..base + (1 << PAGE_SHIFT);
    let claimers: Vec<_> = (1..=trackers as u64)
        .map(|id| {
            let page = page.clone();
            thread::spawn(move || {
                let claimed = claim(&page, id).map(|zone| zone.add(&zone.pages_of(&page)));
                claimed.is_ok() && find(page.start).is_some_and(|zone| zone.is_tracked(0))
            })
        })
        .collect();
    // loom leaves out orders in which one loads what another loads and then stores; so let it store first.
    thread::yield_now();
    if let Some(zone) = find(page.start) {
        assert!(zone.holds(&page));
    }
    let owners = claimers.into_iter().filter_map(|claimer| claimer.join().unwrap().then_some(())).count();
    assert!(owners == 1, "{owners} trackers own the zone");
}

#[test]
fn one_tracker_gets_a_zone_and_handlers_find_it_whole() {
    Model::new("zones of the process", || claims(size(2, 3)))
        .holds()
        .rejects(Mistake::ZoneClaimedTwice, "trackers own the zone")
        .loom_rejects(Mistake::ZonePublishedUnordered, RACE);
}
