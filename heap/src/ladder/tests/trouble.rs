//! Steps that fail half way, blocks that come and go, and what was there before the ladder was.

use super::*;

/// While the tracker does not take it, a lane-block that was mapped anew is hot, whatever the policy says.
#[test]
fn what_can_not_be_tracked_stays_hot() {
    for (to, then) in
        [Rung::Cold, COPY, COMPARE].into_iter().flat_map(|to| RUNGS[..2].iter().map(move |then| (to, *then)))
    {
        let Some(mut lab) = Lab::huge(4) else { return };
        let (here, other) = (at(2, 1), at(2, 2));
        lab.fill_to(&[here, other], Rung::Sparse);
        lab.order_for(other, Rung::Sparse);
        lab.fuses.track.set(0);
        for (i, rung) in (0..).zip([to, to, then, then]) {
            lab.order(rung);
            lab.write(here, [i, 90]);
            lab.write(other, [i]);
            let marks = lab.cut();
            assert!(marks[&here].contains(&i) && marks[&here].contains(&90));
            assert_eq!((lab.states(), &marks[&other]), ([0, 0, 1, 1], &vec![i]), "to {to:?}, then {then:?}");
            assert!(lab.ladder.is_untracked(here));
        }
        lab.fuses.track.set(NEVER);
        lab.write(here, [7]);
        assert!(lab.cut()[&here].contains(&7));
        assert!(!lab.ladder.is_untracked(here));
        assert_eq!(lab.states(), if then == Rung::Cold { [0, 1, 1, 0] } else { [0, 0, 2, 0] });
        lab.write(here, [8]);
        assert_eq!(lab.cut()[&here], marked_on(then, &[8]), "to {to:?}, then {then:?}");
    }
}

/// What was not armed counts as written, so that there is more in the record, and nothing is missing.
#[test]
fn what_can_not_be_armed_is_marked_until_it_is() {
    for (from, to) in RUNGS.into_iter().flat_map(|from| RUNGS.map(|to| (from, to))) {
        let Some(mut lab) = Lab::huge(4) else { return };
        let here = at(2, 1);
        lab.fill_to(&[here], from);
        lab.write(here, [1, 500]);
        lab.order(to);
        lab.fuses.arm.set(0);
        lab.fuses.refine.set(0);
        lab.cut();
        lab.write(here, [2, 400]);
        let marks = lab.cut();
        assert!([2, 400].iter().all(|place| marks[&here].contains(place)), "{from:?} to {to:?}");
        lab.fuses.arm.set(NEVER);
        lab.fuses.refine.set(NEVER);
        lab.order(Rung::Sparse);
        lab.cut();
        lab.write(here, [3, 300]);
        let marks = lab.cut();
        assert!([3, 300].iter().all(|place| marks[&here].contains(place)), "{from:?} to {to:?}");
        lab.cut();
        assert_eq!(lab.cut(), Marks::new(), "{from:?} to {to:?}");
    }
}

/// Without memory for copies, lane-blocks are copied whole.
#[test]
fn without_memory_to_compare_nothing_is_lost() {
    let Some(mut lab) = Lab::huge(4) else { return };
    let (young, hot) = (at(0, 0), at(1, 1));
    lab.fill_to(&[hot], COMPARE);
    lab.ladder.starve(true);
    lab.begin(young);
    lab.filling = Some(young);
    lab.take(young, 0..64);
    lab.cut();
    assert_eq!((lab.states(), lab.stats().shadow_bytes), ([1, 0, 0, 1], LANE_BLOCK_BYTES), "it had its copy before");
    for places in [vec![1], vec![], vec![63, 64]] {
        if places.contains(&64) {
            lab.ladder.starve(false);
            lab.take(young, [64]);
        }
        lab.write(young, places.iter().copied());
        lab.write(hot, places.iter().copied());
        let marks = lab.cut();
        assert_eq!(marks[&young], all());
        assert_eq!(marks.get(&hot), Some(&places).filter(|places| !places.is_empty()));
    }
    lab.write(young, [5]);
    assert_eq!((lab.cut(), lab.stats().shadow_bytes), (Marks::from([(young, vec![5])]), 2 * LANE_BLOCK_BYTES));
    lab.ladder.starve(true);
    for rung in [COPY, COMPARE] {
        lab.order(rung);
        lab.cut();
        lab.write(hot, [8]);
        assert_eq!(lab.cut()[&hot], all(), "{rung:?}");
        assert_eq!(lab.asked(hot).unwrap().written, Written::Some);
    }
}

/// A cut whose scan fails goes on with the next one, however often.
#[test]
fn what_a_failed_harvest_found_is_told_by_the_next_one() {
    let Some(mut lab) = Lab::huge(1) else { return };
    let (here, woken, last) = (at(0, 0), at(1, 0), at(9, 0));
    lab.order_for(here, Rung::Sparse);
    lab.fill_to(&[here, woken, last], Rung::Cold);
    lab.write(woken, [3]);
    // More slots than 16 bits can count: 130 times 512.
    for _ in 0..130 {
        lab.write(here, 0..512);
        lab.fuses.harvest.set(2);
        lab.write(last, [1]);
        assert!(lab.try_cut().is_err());
        lab.fuses.harvest.set(NEVER);
    }
    lab.cut();
    let seen = lab.asked(here).unwrap();
    assert!(seen.state == State::Sparse && matches!(seen.written, Written::Exactly(512..)), "{seen:?}");
    let seen = lab.asked(woken).unwrap();
    assert_eq!((seen.state, seen.written), (State::Cold, Written::Some));
    lab.write(here, [4]);
    assert_eq!(lab.cut(), Marks::from([(here, vec![4])]));
    assert_eq!(lab.asked(here).unwrap().written, Written::Exactly(1));
}

/// A recovered zone is armed by its owner: huge pages as such.
#[test]
fn recovered_lane_blocks_are_cold_or_sparse_or_vacant() {
    let Some(mut lab) = Lab::huge(3) else { return };
    lab.ladder = Ladder::new(lab.mapping.number(), lab.layout, Box::new(Scripted(lab.script.clone())), true);
    [true, false, true].into_iter().zip(0..).for_each(|(huge, block)| lab.ladder.set_huge(block, huge));
    for here in (0..64).flat_map(|slot| [at(slot, 0), at(slot, 1), at(slot, 2)]) {
        lab.ladder.recover(here, here.block() == 2);
        lab.tracker.arm(lab.range(here)).unwrap();
    }
    let used = (0..64).flat_map(|slot| [at(slot, 0), at(slot, 1)]);
    lab.recorded.extend(used.flat_map(|at| all().into_iter().map(move |place| ((at, place), Some(0)))));
    assert_eq!((lab.stats().huge_blocks, lab.states()), (2, [0, 64, 64, 0]));
    lab.order_for(at(63, 1), Rung::Sparse);
    assert_eq!(lab.cut(), Marks::new());
    lab.write(at(63, 0), [9]);
    lab.write(at(63, 1), [9]);
    assert_eq!(lab.cut()[&at(63, 0)], all());
    lab.fill(at(7, 2));
    lab.cut();
    assert_eq!(lab.states()[1..3], [65, 64]);
}

/// A block that was filled by pages has become a huge page, and its lane-blocks go on as they were until the policy moves them.
#[test]
fn what_was_filled_by_pages_can_cool() {
    for rung in RUNGS.into_iter().filter(|_| huge_lanes_are_there()) {
        let Some(mut lab) = Lab::new(TrackerKind::Async, 4 * BLOCK_FRAMES, true) else { return };
        let here = at(1, 1);
        lab.fill_to(&[here], rung);
        let on = if rung == Rung::Cold { Rung::Sparse } else { rung };
        assert_eq!((lab.states(), lab.huge_bytes(here)), (one(state_on(on)), 0));
        lab.write(here, [3]);
        let Some(()) = lab.collapse(1) else { return };
        lab.write(here, [8]);
        assert_eq!(lab.cut()[&here], marked_on(on, &[3, 8]), "{rung:?}");
        lab.order(Rung::Cold);
        lab.write(here, [9]);
        lab.cut();
        lab.write(here, [10]);
        assert_eq!((lab.cut()[&here].len(), lab.states()), (512, [0, 1, 0, 0]), "{rung:?}");
        assert_eq!(lab.huge_bytes(here) == BLOCK_BYTES, lab.stats().coarsened > 0, "{rung:?}");
    }
}

#[test]
fn a_vacant_block_is_in_no_state_and_can_be_filled_again() {
    for (rung, huge_again) in RUNGS.into_iter().flat_map(|rung| [true, false].map(|again| (rung, again))) {
        let Some(mut lab) = Lab::huge(3) else { return };
        let (here, young, kept) = (at(1, 1), at(2, 1), at(1, 2));
        lab.order_for(kept, Rung::Sparse);
        lab.fill_to(&[here, kept], rung);
        lab.filling = Some(young);
        lab.begin(young);
        lab.take(young, 0..10);
        lab.write(here, [4]);
        lab.write(kept, [4]);
        lab.cut();
        lab.filling = None;
        lab.write(here, [5]);
        lab.write(kept, [5]);
        let (scans, backed) = (lab.stats().scans, lab.mapping.backed_bytes().unwrap());
        lab.vacate(1);
        assert_eq!(lab.mapping.backed_bytes().unwrap(), backed - BLOCK_BYTES);
        let LadderStats { huge_blocks, shadow_bytes, .. } = lab.stats();
        assert_eq!((huge_blocks, shadow_bytes, lab.states()), (2, 0, [0, 0, 1, 0]), "{rung:?}");
        assert!(!lab.ladder.is_untracked(here), "it would be a mapping of its own");
        assert_eq!(lab.cut(), Marks::from([(kept, vec![5])]), "{rung:?}: nothing is left of the block");
        assert_eq!(lab.stats().scans, scans + 1, "what is vacant is not scanned");
        if huge_again {
            let Some(()) = lab.collapse(1) else { return };
        }
        lab.fill(here);
        lab.write(kept, [6]);
        assert_eq!(lab.states(), if huge_again { [1, 0, 1, 0] } else { [0, 0, 2, 0] });
        for to in [Rung::Cold, Rung::Sparse, COPY, Rung::Cold] {
            lab.order(to);
            lab.write(here, [77]);
            lab.cut();
            lab.write(here, [78]);
            assert!(lab.cut()[&here].contains(&78), "{rung:?}, huge again: {huge_again}, to {to:?}");
        }
        assert_eq!(lab.states()[1], u64::from(huge_again));
    }
}
