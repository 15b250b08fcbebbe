use super::super::policy::Room;
use super::*;

/// Epochs from the first write to the prediction.
const WARM_UP: u32 = SAMPLED_EPOCHS + GENERATIONS;

/// The cut of an epoch that wrote `written` of the first `all` lane-blocks. Those that are hot from now on.
fn cut(policy: &mut Genetic, all: u32, written: impl Fn(u32) -> bool) -> Vec<u32> {
    let decide = |at: &u32| {
        let state = if policy.predicted.contains(LaneBlock(*at)) { State::Hot } else { State::Sparse };
        let written = if written(*at) { Written::Some } else { Written::Exactly(0) };
        policy.decide(LaneBlock(*at), Seen { state, written, room: Room::None }) == Rung::Hot(Eager::Copy)
    };
    let hot = (0..all).filter(decide).collect();
    policy.end_epoch();
    hot
}

/// Lane-blocks that [`noisy`] writes to.
const ALL: u32 = 1000;

/// So many epochs that write each of `hot` lane-blocks with 8 chances in 10, and each other with 2 in 100.
fn noisy(hot: u32, epochs: u32, coins: &mut Rng) -> Vec<Vec<bool>> {
    let mut epoch = || (0..ALL).map(|at| coins.below(100) < if at < hot { 80 } else { 2 }).collect();
    (0..epochs).map(|_| epoch()).collect()
}

/// What a set costs over `epochs`.
fn cost(predicts: impl Fn(u32) -> bool, epochs: &[Vec<bool>]) -> u64 {
    let price = |(at, &written): (usize, &bool)| match (predicts(at as u32), written) {
        (true, false) => u64::from(COPY_COST),
        (false, true) => u64::from(FAULT_COST),
        _ => 0,
    };
    epochs.iter().flat_map(|written| written.iter().enumerate().map(price)).sum()
}

#[test]
fn predicts_a_fixed_set_exactly_and_for_ever_once_it_has_evolved() {
    let (mut policy, fixed) = (Genetic::new(), |at: u32| at.is_multiple_of(3));
    for _ in 0..WARM_UP {
        assert_eq!(cut(&mut policy, 90, fixed), []);
    }
    for _ in 0..10 * SAMPLED_EPOCHS {
        assert_eq!(cut(&mut policy, 90, fixed), (0..90).step_by(3).collect::<Vec<_>>());
    }
    assert!(matches!(policy.phase, Phase::Settled { expected: 0, .. }));
}

#[test]
fn evolves_anew_when_the_writes_move_and_keeps_the_old_set_meanwhile() {
    let (mut policy, there) = (Genetic::new(), |at: u32| at >= 60);
    (0..WARM_UP).for_each(|_| drop(cut(&mut policy, 90, |at| at < 30)));
    for _ in 0..SAMPLED_EPOCHS + WARM_UP {
        assert_eq!(cut(&mut policy, 90, there), (0..30).collect::<Vec<_>>());
    }
    assert_eq!(cut(&mut policy, 90, there), (60..90).collect::<Vec<_>>());
}

#[test]
fn neither_births_nor_idle_epochs_are_sampled() {
    let mut policy = Genetic::new();
    let birth = Seen { state: State::Young, written: Written::Exactly(512), room: Room::None };
    for _ in 0..100 {
        assert_eq!(policy.decide(LaneBlock(0), birth), Rung::Sparse);
        cut(&mut policy, 10, |_| false);
    }
    (0..WARM_UP).for_each(|_| drop(cut(&mut policy, 10, |at| at == 7)));
    assert_eq!(cut(&mut policy, 10, |at| at == 7), [7]);
    assert_eq!(policy.decide(LaneBlock(7), birth), Rung::Hot(Eager::Copy));
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing in it is unsafe")]
fn beats_what_it_started_from_and_random_sets_and_gets_near_the_ideal() {
    for hot in [30, 100, 200, 500] {
        let (mut policy, mut coins) = (Genetic::new(), Rng::new(hot.into()));
        let sampled = noisy(hot, SAMPLED_EPOCHS, &mut coins);
        sampled.iter().for_each(|written| drop(cut(&mut policy, ALL, |at| written[at as usize])));
        let Phase::Evolving(Evolution { population, .. }) = &policy.phase else { panic!("still sampling") };
        let first = population[0].cost;
        (0..GENERATIONS).for_each(|_| drop(cut(&mut policy, ALL, |_| false)));

        let evolved = |at| policy.predicted.contains(LaneBlock(at));
        let Phase::Settled { expected, .. } = policy.phase else { panic!("still evolving") };
        assert_eq!(expected, cost(evolved, &sampled), "the price of a set is what it would have cost");
        assert!(expected < first, "{hot}: {first} to {expected}");

        let later = noisy(hot, 50, &mut coins);
        let size = policy.predicted.iter().count() as u64;
        let random: Vec<bool> = (0..ALL).map(|_| coins.below(ALL.into()) < size).collect();
        let evolved = cost(evolved, &later);
        let [none, ideal] = [0, hot].map(|end| cost(|at| at < end, &later));
        let random = cost(|at| random[at as usize], &later);
        assert!(evolved < random, "{hot}: {evolved}, random {random}");
        // What the ideal saves, it saves at least three quarters of.
        assert!((none - evolved) * 4 > (none - ideal) * 3, "{hot}: {evolved}, none {none}, ideal {ideal}");
    }
}

#[test]
fn the_second_parent_is_drawn_in_proportion_to_one_by_cost() {
    let population = [1, 2, 4].map(|cost| Individual { genes: Vec::new(), cost });
    let (mut rng, mut times) = (Rng::new(0), [0; 5]);
    (0..7000).for_each(|_| times[draw(&population, &mut rng).cost as usize] += 1);
    let near = |times, expected: u32| expected.abs_diff(times) < 200;
    assert!(near(times[1], 4000) && near(times[2], 2000) && near(times[4], 1000), "{times:?}");
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing in it is unsafe")]
fn the_same_writes_get_the_same_rungs() {
    let epochs = noisy(50, WARM_UP + 20, &mut Rng::new(3));
    let run = || {
        let mut policy = Genetic::new();
        let rungs = epochs.iter().map(|written| cut(&mut policy, ALL, |at| written[at as usize]));
        rungs.collect::<Vec<_>>().concat()
    };
    assert!(run().len() > 20 * 50 / 2);
    assert_eq!(run(), run());
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing in it is unsafe")]
fn a_flood_of_writes_neither_breaks_the_bound_nor_drowns_what_is_written_often() {
    const ZONE: u32 = 131_072;
    let (mut policy, mut coins) = (Genetic::new(), Rng::new(5));
    for _ in 0..WARM_UP {
        // 300 that are always written, at the upper end, and some 5000 others.
        let written: Vec<bool> = (0..ZONE).map(|at| at >= ZONE - 300 || coins.below(26) == 0).collect();
        cut(&mut policy, ZONE, |at| written[at as usize]);
        match &policy.phase {
            Phase::Sampling(sample) => assert_eq!(sample.known.len(), CANDIDATES_MAX),
            Phase::Evolving(evolution) => assert_eq!(evolution.candidates.len(), CANDIDATES_MAX),
            Phase::Settled { .. } => {}
        }
        // The record, the set, and twice the set while a `Vec` grows.
        assert!(policy.memory_bytes() <= (64 << 10) + ZONE as usize / 4 + 1024, "{}", policy.memory_bytes());
    }
    let often = (ZONE - 300..ZONE).filter(|&at| policy.predicted.contains(LaneBlock(at))).count();
    assert!(often > 200, "{often} of 300");
}
