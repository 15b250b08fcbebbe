//! Steps for which the kernel does not map a lane-block anew.

use super::*;
use crate::sys::refuse::{Refusal, can_refuse, refusing};

/// The ways in which [`ZoneMapping::remap`] fails: before anything has changed, and when the new mapping is there, which nobody tracks; both with a tracker that
/// takes the new mapping, and with one that does not.
pub fn refusals() -> [Vec<Refusal>; 4] {
    let before = || Refusal::map_over(libc::ENOMEM);
    let after = || Refusal::advice(libc::MADV_DONTFORK, libc::ENOMEM);
    let track = || Refusal::register(libc::ENOMEM);
    [vec![before()], vec![after()], vec![before(), track()], vec![after(), track()]]
}

#[test]
fn what_can_not_be_mapped_anew_loses_no_write() {
    let all_refusals = refusals().into_iter().filter(|_| can_refuse());
    for (refused, to) in all_refusals.flat_map(|refused| RUNGS.map(|to| (refused.clone(), to))) {
        let Some(mut lab) = Lab::huge(4) else { return };
        let (here, other, tracked) = (at(2, 1), at(2, 2), refused.len() == 1);
        lab.fill_to(&[here, other], Rung::Sparse);
        lab.order(to);
        lab.order_for(other, Rung::Sparse);
        for i in 0..3 {
            lab.write(here, [i, 90]);
            lab.write(other, [i]);
            let marks = refusing(&refused, || lab.cut());
            assert!(marks[&here].contains(&i) && marks[&here].contains(&90), "{to:?}, {refused:?}");
            assert_eq!(marks[&other], [i]);
            // Without its huge page it does not cool. What is not tracked is looked at.
            let hot = u64::from(matches!(to, Rung::Hot(_)) || to == Rung::Cold && !tracked);
            assert_eq!((lab.states(), lab.stats().coarsened), ([0, 0, 2 - hot, hot], 0), "{to:?}, {refused:?}");
            assert_eq!(lab.ladder.is_untracked(here), to != Rung::Sparse && !tracked, "{to:?}, {refused:?}");
        }
        for (place, to) in (4..).zip([to, Rung::Sparse, Rung::Cold, Rung::Cold]) {
            lab.order(to);
            lab.write(here, [place]);
            assert!(lab.cut()[&here].contains(&place), "{to:?}, {refused:?}");
        }
        assert_eq!((lab.states(), lab.ladder.is_untracked(here)), ([0, 1, 1, 0], false), "{to:?}, {refused:?}");
        assert_eq!((lab.huge_bytes(here), lab.huge_bytes(other)), (BLOCK_BYTES, 0), "{to:?}, {refused:?}");
    }
}

/// What had a table of pages when its block became vacant keeps it.
#[test]
fn a_vacant_block_that_can_not_be_mapped_anew_can_be_filled_again() {
    let all_refusals = refusals().into_iter().filter(|_| can_refuse());
    for (refused, huge_again) in all_refusals.flat_map(|refused| [true, false].map(|again| (refused.clone(), again))) {
        let Some(mut lab) = Lab::huge(3) else { return };
        let (here, cold, kept) = (at(1, 1), at(2, 1), at(1, 2));
        lab.order_for(cold, Rung::Cold);
        lab.fill_to(&[here, cold, kept], Rung::Sparse);
        for place in [3, 4] {
            lab.write(here, [place]);
            lab.write(kept, [place]);
            lab.cut();
        }
        lab.write(here, [5]);
        lab.write(kept, [5]);
        refusing(&refused, || lab.vacate(1));
        assert_eq!(lab.ladder.is_untracked(here), refused.len() == 2, "{refused:?}");
        assert!(!lab.ladder.is_untracked(cold), "it had no pages");
        assert_eq!((lab.cut(), lab.states()), (Marks::from([(kept, vec![5])]), [0, 0, 1, 0]), "{refused:?}");
        if huge_again {
            let Some(()) = lab.collapse(1) else { return };
        }
        lab.fill(here);
        lab.fill(cold);
        for (place, to) in (70..).zip([Rung::Cold, Rung::Sparse, COPY, Rung::Cold]) {
            lab.script().rungs.clear();
            lab.order_for(kept, Rung::Sparse);
            lab.order(to);
            [here, cold, kept].iter().for_each(|at| lab.write(*at, [place]));
            lab.cut();
            [here, cold, kept].iter().for_each(|at| lab.write(*at, [place + 100]));
            let marks = lab.cut();
            let marked = [here, cold, kept].map(|at| marks[&at].contains(&(place + 100)));
            assert_eq!(marked, [true; 3], "{refused:?}, huge again: {huge_again}, to {to:?}");
        }
        assert_eq!(lab.states()[1], if huge_again { 2 } else { 0 });
    }
}

/// Its table of pages is filled, and nobody tracks it: it is hot until somebody does.
#[test]
fn what_can_not_be_tracked_again_when_it_is_filled_is_looked_at() {
    for from in RUNGS.into_iter().filter(|rung| *rung != Rung::Sparse && can_refuse()) {
        let Some(mut lab) = Lab::huge(3) else { return };
        let here = at(2, 1);
        lab.script().fills = true;
        lab.fill_to(&[here], from);
        lab.order(Rung::Sparse);
        for place in [7, 8] {
            lab.write(here, [place]);
            let marks = refusing(&[Refusal::register(libc::ENOMEM)], || lab.cut());
            assert!(marks[&here].contains(&place), "{from:?}");
            assert_eq!((lab.states(), lab.ladder.is_untracked(here)), ([0, 0, 0, 1], true), "{from:?}");
        }
        lab.write(here, [9]);
        assert!(lab.cut()[&here].contains(&9), "{from:?}");
        assert_eq!((lab.states(), lab.ladder.is_untracked(here)), ([0, 0, 1, 0], false), "{from:?}");
        lab.write(here, [10, 11]);
        assert_eq!(lab.cut(), Marks::from([(here, vec![10, 11])]), "{from:?}");
    }
}

/// At the limit of mappings, a part of one cannot stop being tracked: then it keeps its markers.
#[test]
fn what_can_not_be_filled_stays_as_it_is() {
    let Some(mut lab) = Lab::huge(3).filter(|_| can_refuse()) else { return };
    let here = at(2, 1);
    lab.script().fills = true;
    lab.fill_to(&[here], Rung::Cold);
    lab.order(Rung::Sparse);
    lab.write(here, [7]);
    assert_eq!(refusing(&[Refusal::unregister(libc::ENOMEM)], || lab.cut()).len(), 1);
    assert_eq!((lab.states(), lab.ladder.is_untracked(here), lab.present_bytes(here)), ([0, 0, 1, 0], false, 0));
    lab.write(here, [10, 11]);
    assert_eq!(lab.cut(), Marks::from([(here, vec![10, 11])]));
}
