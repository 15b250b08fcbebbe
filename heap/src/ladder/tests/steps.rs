//! The steps from rung to rung, and what is counted of them.

use super::*;

/// The same as in `rungs.rs`.
const COOLED_A_CUT: u16 = 16;

/// Each edge, with writes before it, and with writes and none after.
#[test]
fn every_rung_leads_to_every_rung_and_catches_writes() {
    for (from, to) in RUNGS.into_iter().flat_map(|from| RUNGS.map(|to| (from, to))) {
        // So many blocks that there is room to compare with copies.
        let Some(mut lab) = Lab::huge(4) else { return };
        let (here, idle) = (at(3, 1), [at(3, 0), at(3, 2), at(4, 1)]);
        lab.fill_to(&idle, Rung::Cold);
        lab.fill_to(&[here], from);
        let states = |lab: &Lab, rung| {
            let [young, cold, sparse, hot] = one(state_on(rung));
            assert_eq!(lab.states(), [young, cold + 3, sparse, hot], "{from:?} to {to:?}");
        };
        states(&lab, from);
        let step = |lab: &mut Lab, on, then, written: &[u32]| {
            lab.write(here, written.iter().copied());
            lab.order(then);
            let marks = lab.cut();
            let expected = marked_on(on, written);
            assert_eq!(marks.get(&here).unwrap_or(&vec![]), &expected, "{from:?} to {to:?}, {written:?} written");
            assert!(marks.keys().all(|at| *at == here), "{from:?} to {to:?}: marked others");
            match lab.asked(here) {
                Some(seen) => assert_eq!((seen.state, seen.written), (state_on(on), told_on(on, written))),
                None => assert!(on == Rung::Cold && written.is_empty(), "not asked on {on:?}"),
            }
        };
        step(&mut lab, from, from, &[]);
        step(&mut lab, from, from, &[0, 511]);
        step(&mut lab, from, to, &[9, 10, 200]);
        states(&lab, to);
        assert_eq!(lab.huge_bytes(here), if to == Rung::Sparse { 0 } else { BLOCK_BYTES }, "{from:?} to {to:?}");
        step(&mut lab, to, to, &[]);
        step(&mut lab, to, to, &[9, 77]);
        step(&mut lab, to, to, &[9, 78]);
        step(&mut lab, to, to, &[]);
        states(&lab, to);
        let compared = matches!(to, Rung::Hot(Eager::Compare | Eager::Count));
        assert_eq!(lab.stats().shadow_bytes, if compared { LANE_BLOCK_BYTES } else { 0 }, "{from:?} to {to:?}");
    }
}

/// The same where nobody writes before the step. Nobody is asked about idle cold ones.
#[test]
fn idle_lane_blocks_step_without_a_mark() {
    for (from, to) in RUNGS[1..].iter().flat_map(|from| RUNGS.map(|to| (*from, to))) {
        let Some(mut lab) = Lab::huge(4) else { return };
        let here = at(0, 0);
        lab.fill_to(&[here], from);
        lab.order(to);
        assert_eq!(lab.cut().len(), usize::from(from == COPY), "{from:?} to {to:?}");
        assert_eq!(lab.states(), one(state_on(to)), "{from:?} to {to:?}");
        lab.write(here, [5]);
        assert_eq!(lab.cut()[&here], marked_on(to, &[5]), "{from:?} to {to:?}");
    }
}

#[test]
fn a_lane_block_is_young_while_it_is_filled_and_its_old_slots_are_compared() {
    let Some(mut lab) = Lab::huge(1) else { return };
    let here = at(0, 0);
    lab.begin(here);
    lab.filling = Some(here);
    lab.order(Rung::Sparse);
    lab.take(here, 0..64);
    assert_eq!((lab.cut(), lab.states()), (Marks::new(), [1, 0, 0, 0]), "new slots are recorded as such");
    assert_eq!((lab.asked(here).is_none(), lab.stats().shadow_bytes), (true, LANE_BLOCK_BYTES));
    lab.take(here, 64..128);
    lab.write(here, [1, 63]);
    let marks = lab.cut();
    // What was not taken at the last cut reads as changed; it is new anyway.
    assert_eq!(marks[&here][..2], [1, 63]);
    assert!(marks[&here].iter().all(|place| [1, 63].contains(place) || *place >= 64), "{marks:?}");
    assert_eq!(lab.cut(), Marks::new());
    assert_eq!(lab.stats().eager_compares, 2 * 512);
    lab.take(here, 128..512);
    lab.filling = None;
    lab.write(here, [100]);
    assert!(lab.cut()[&here].contains(&100));
    assert_eq!(lab.asked(here).unwrap().state, State::Young);
    assert_eq!((lab.states(), lab.stats().shadow_bytes), ([0, 0, 1, 0], 0));
    lab.write(here, [100]);
    assert_eq!(lab.cut()[&here], [100]);
}

/// A cut of many lane-blocks that need not cool at once takes a few; written ones are no burden.
#[test]
fn few_idle_lane_blocks_cool_at_a_cut() {
    let Some(mut lab) = Lab::huge(1) else { return };
    let many: Vec<_> = (0..COOLED_A_CUT + 6).map(|slot| at(slot, 0)).collect();
    lab.fill_to(&many, Rung::Sparse);
    lab.order(Rung::Cold);
    lab.write(many[0], [1]);
    lab.write(many[20], [1]);
    lab.cut();
    assert_eq!(lab.states(), [0, 18, 4, 0]);
    lab.cut();
    assert_eq!((lab.states(), lab.stats().coarsened), ([0, 22, 0, 0], 22));
    for here in &many {
        lab.write(*here, [300]);
    }
    assert_eq!(lab.cut().values().filter(|places| **places == all()).count(), many.len());
}

#[test]
fn cold_lane_blocks_are_refined_before_they_wake_if_the_policy_says_so() {
    let Some(mut lab) = Lab::huge(2) else { return };
    let cold = [at(0, 0), at(0, 1), at(1, 0), at(1, 1), at(2, 0)];
    lab.fill_to(&cold, Rung::Cold);
    lab.script().kept_cold.insert(at(0, 1));
    lab.script().refine_cold = 3;
    lab.cut();
    assert_eq!((lab.script().cold, lab.states()), (5, [0, 2, 3, 0]));
    lab.order(Rung::Sparse);
    lab.cut();
    assert_eq!((lab.script().cold, lab.states()), (2, [0, 1, 4, 0]));
    assert_eq!((lab.stats().refined, lab.script().epochs), (4, 3));
    for (here, marked) in cold.into_iter().zip([vec![7], all(), vec![7], vec![7], vec![7]]) {
        lab.write(here, [7]);
        assert_eq!(lab.cut(), Marks::from([(here, marked)]));
    }
}

/// The kernel tells of neighbouring pages together, whatever lane-blocks they are in.
#[test]
fn a_report_may_span_lane_blocks() {
    let Some(mut lab) = Lab::huge(4) else { return };
    let lane: Vec<_> = (0..4).map(|block| at(2, block)).collect();
    for states in [[Rung::Sparse; 4], [Rung::Cold; 4], [Rung::Sparse, Rung::Cold, Rung::Cold, Rung::Sparse]] {
        lane.iter().for_each(|here| lab.fill(*here));
        lane.iter().zip(states).for_each(|(here, rung)| lab.order_for(*here, rung));
        lab.cut();
        for written in [[vec![510, 511], all(), all(), vec![0]], [vec![511], vec![0, 1], vec![511], vec![0, 1, 2]]] {
            lane.iter().zip(&written).for_each(|(here, places)| lab.write(*here, places.iter().copied()));
            let marked = states.iter().zip(&written).map(|(rung, written)| marked_on(*rung, written));
            let marks = lab.cut();
            assert_eq!(marks.into_values().collect::<Vec<_>>(), marked.collect::<Vec<_>>(), "{states:?}");
        }
        assert_eq!(lab.cut(), Marks::new());
    }
}

/// Copies of 64-byte slots take 32 KiB a lane-block. Of 2 MiB, an eighth may be copies, half of which is kept for counting.
#[test]
fn copies_to_compare_with_are_bounded() {
    let Some(mut lab) = Lab::huge(1) else { return };
    let many: Vec<_> = (0..12).map(|slot| at(slot, 0)).collect();
    lab.fill_to(&many, COMPARE);
    let copies = |lab: &Lab| lab.stats().shadow_bytes / LANE_BLOCK_BYTES;
    let room = |lab: &Lab, i: usize| lab.asked(many[i]).unwrap().room;
    assert_eq!((lab.states(), copies(&lab)), ([0, 0, 0, 12], 4));
    assert_eq!((room(&lab, 3), room(&lab, 4)), (Room::Compare, Room::Count));
    // What has a copy keeps it; what has none can count.
    lab.order(Rung::Hot(Eager::Count));
    lab.cut();
    assert_eq!(copies(&lab), 8);
    assert_eq!((room(&lab, 0), room(&lab, 8)), (Room::Compare, Room::None), "its own copy is not in its way");
    for i in [0, 7, 8] {
        lab.write(many[i], [1]);
    }
    let marks = lab.cut();
    assert_eq!([0, 7, 8].map(|i| marks[&many[i]].len()), [1, 1, 512]);
    assert!(lab.ladder.memory_bytes() < 10 * LANE_BLOCK_BYTES as usize, "{}", lab.ladder.memory_bytes());
    // Whatever they change to, the copies go.
    for (here, rung) in many.iter().zip([Rung::Cold, Rung::Sparse, COPY].into_iter().cycle()) {
        lab.order_for(*here, rung);
    }
    lab.cut();
    assert_eq!((lab.states(), copies(&lab)), ([0, 4, 4, 4], 0));
}

#[test]
fn what_is_freed_and_taken_again_is_compared_with_what_it_was() {
    let Some(mut lab) = Lab::huge(4) else { return };
    let (compared, copied) = (at(0, 0), at(1, 0));
    lab.order_for(compared, COMPARE);
    lab.fill_to(&[compared, copied], COPY);
    for here in [compared, copied] {
        lab.free(here, 10..20);
        lab.write(here, [5]);
        lab.write(here, 10..12);
    }
    assert_eq!(lab.cut()[&compared], [5, 10, 11], "in a huge page, free slots are looked at as well");
    for here in [compared, copied] {
        lab.take(here, 10..15);
        lab.write(here, [30]);
    }
    assert_eq!(lab.cut()[&compared].last(), Some(&30));
    lab.write(compared, [12]);
    lab.write(copied, [12]);
    assert_eq!(lab.cut()[&compared], [12]);
    assert_eq!(lab.cut(), Marks::from([(copied, all())]));
    assert_eq!(lab.asked(copied).unwrap().written, Written::Exactly(0));
}

/// Some a cut, and what is filled is caught slot by slot as before.
#[test]
fn sparse_lane_blocks_are_filled() {
    let Some(mut lab) = Lab::huge(5) else { return };
    lab.script().fills = true;
    let all = [at(0, 0), at(1, 1), at(2, 2), at(3, 3), at(4, 1)];
    lab.fill_to(&all, Rung::Sparse);
    let filled = |lab: &Lab| all.map(|at| lab.present_bytes(at) == BLOCK_BYTES).into_iter().filter(|is| *is).count();
    for count in [2, 4, 5, 5] {
        assert_eq!((lab.stats().filled, filled(&lab)), (count, count as usize));
        all.iter().for_each(|at| lab.write(*at, [3, 400]));
        assert_eq!(lab.cut(), all.into_iter().map(|at| (at, vec![3, 400])).collect());
    }
    lab.order(Rung::Cold);
    lab.write(all[0], [5]);
    lab.cut();
    assert_eq!((lab.cut(), lab.states()[1] > 0), (Marks::new(), true));
}

#[test]
fn what_happens_is_counted() {
    let Some(mut lab) = Lab::huge(4) else { return };
    let [cold, sparse, copied, compared] = [at(0, 0), at(1, 1), at(2, 2), at(3, 3)];
    for (here, rung) in [(sparse, Rung::Sparse), (copied, COPY), (compared, COMPARE)] {
        lab.order_for(here, rung);
    }
    lab.fill_to(&[cold, sparse, copied, compared], Rung::Cold);
    let born = LadderStats {
        huge_blocks: 4,
        cold: 1,
        sparse: 1,
        hot: 2,
        shadow_bytes: LANE_BLOCK_BYTES,
        refined: 1,
        ..LadderStats::default()
    };
    assert_eq!(lab.stats(), born, "young lane-blocks are not scanned, and predict nothing");
    lab.cut();
    let idle = LadderStats {
        scans: 2,
        slots_scanned: 512,
        cold_scanned: 1,
        eager_copies: 512,
        eager_compares: 512,
        predicted_not_written: 2,
        ..born
    };
    assert_eq!(lab.stats(), idle);
    for (here, places) in [(cold, 0..3), (sparse, 0..5), (copied, 0..7), (compared, 0..9)] {
        lab.write(here, places);
    }
    lab.cut();
    let written = LadderStats {
        scans: 4,
        slots_scanned: 2 * 512,
        cold_scanned: 2,
        faults: 1 + 5,
        wakes: 1,
        eager_copies: 2 * 512,
        eager_compares: 2 * 512,
        written_not_predicted: 2,
        ..idle
    };
    assert_eq!(lab.stats(), written);
    assert_eq!(lab.asked(compared).unwrap().written, Written::Exactly(9));
    lab.script().rungs = BTreeMap::from([(cold, COPY), (sparse, Rung::Cold), (copied, Rung::Sparse)]);
    lab.write(cold, [0]);
    lab.cut();
    let LadderStats { cold, sparse, hot, coarsened, refined, shadow_bytes, .. } = lab.stats();
    assert_eq!([cold, sparse, hot, coarsened, refined, shadow_bytes], [2, 1, 1, 1, 2, 0]);
}

/// By pages, every lane-block is sparse or hot; hot only if it is whole.
#[test]
fn lane_blocks_of_pages_are_sparse_or_hot() {
    for kind in [TrackerKind::Async, TrackerKind::Signal] {
        let Some(mut lab) = Lab::new(kind, BLOCK_FRAMES + 100, false) else { continue };
        let (here, part) = (at(5, 0), at(5, 1));
        lab.fill(here);
        lab.begin(part);
        lab.take(part, 0..100);
        let steps = [COPY, Rung::Sparse, COMPARE, COPY, Rung::Hot(Eager::Count), Rung::Cold, COMPARE, Rung::Sparse];
        let mut on = Rung::Sparse;
        for (i, to) in (0..).zip(steps) {
            lab.write(here, [i, 400]);
            lab.write(part, [99 - i]);
            lab.order(to);
            let marks = lab.cut();
            if i > 0 {
                assert_eq!(marks[&here], marked_on(on, &[i, 400]), "{kind} tracker, {on:?} to {to:?}");
                assert_eq!(marks[&part], [99 - i], "{kind} tracker");
            }
            on = if to == Rung::Cold { Rung::Sparse } else { to };
            let hot = u64::from(on != Rung::Sparse);
            assert_eq!(lab.states(), [0, 0, 2 - hot, hot], "{kind} tracker, to {to:?}");
            let bytes = if matches!(on, Rung::Sparse | COPY) { 0 } else { LANE_BLOCK_BYTES };
            assert_eq!(lab.stats().shadow_bytes, bytes);
        }
        assert_eq!((lab.stats().refined, lab.stats().coarsened, lab.stats().wakes), (0, 0, 0));
    }
}

/// The first harvest after slots were handed out by pages finds births, which say nothing of writes to come.
#[test]
fn births_are_told_as_young_whatever_the_pages() {
    let Some(mut lab) = Lab::new(TrackerKind::Signal, BLOCK_FRAMES, false) else { return };
    let here = at(0, 0);
    lab.fill(here);
    lab.cut();
    assert_eq!(lab.asked(here).unwrap().state, State::Young);
    lab.write(here, [1, 2]);
    lab.cut();
    let seen = lab.asked(here).unwrap();
    assert_eq!((seen.state, seen.written), (State::Sparse, Written::Exactly(2)));
    assert_eq!((lab.stats().faults, lab.stats().written_not_predicted), (2, 1));
}
