//! The genetic estimator of Speculative Memory Checkpointing (Vogt et al., Middleware 2015): the set of lane-blocks
//! that is copied at each cut, instead of caught by faults, is evolved from what early epochs wrote.
//!
//! ```text
//!  Sampling --16 epochs with writes--> Evolving --32 generations--> Settled --it costs twice as much--> Sampling
//! ```
//!
//! Known publicly and kept: individuals are bit sets; a set pays little for what it predicts and is not written, much
//! for what is written and it does not predict; the first parent is the best, the second is drawn in proportion to
//! 1/cost; crossover is uniform, mutation near 0.01; the best one in the end is the prediction. Chosen here, where it
//! could be in favour of the estimator:
//!
//! - The unit is the lane-block, where the paper has the page. Both costs are one a lane-block, however many of its
//!   slots were written, as they are one a page there. (The ladder's are not: a fault a written slot, 512 copies.)
//! - What was written during 16 sampled epochs is recorded, and individuals are judged by that record alone. Epochs in
//!   which nothing was written do not count, nor do births. The first population is the 16 sampled sets, and 16 unions
//!   of two of them; without the unions it ended further off.
//! - One generation an epoch. The best individual lives on, so that the best never gets worse. Every second child or
//!   so is not mutated: in a large set mutation spoils all that crossover wins.
//! - A lane-block that no sampled epoch wrote is no candidate, and is not predicted before the next evolution. Nor is
//!   what the list of candidates had no room for.
//! - Until the first evolution is over, nothing is predicted. After that, every 16 epochs are priced as the sample
//!   was, and a set that costs more than twice what it did there is evolved anew; meanwhile it stays in force. As
//!   described the estimator evolves once, which would make it worthless to a program that loads first and works
//!   later.
//! - For the record a write is a write, whether faults told of an armed lane-block or the checksum of a hot one.
//!
//! The cost is a sum over lane-blocks, so its minimum could be had without evolving anything: predict what more than
//! one epoch in nine wrote. Evolution ended some 5 % above that with 300 candidates, and half above it with 900.
//!
//! Memory: at most 80 KiB while sampling or evolving, and one or two bits for each lane-block. Work within one cut: a
//! binary search for each written lane-block while sampling, and a sort of at most 4096 candidates after it; while
//! evolving, one generation, which prices 31 children of at most 4096 candidates. Either takes some 0.1 ms at most.

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

use super::State;
use super::policy::{Eager, Policy, Rung, Seen, Written};
use super::rng::Rng;
use crate::base::{LaneBlock, LaneBlockSet};

/// Epochs that are sampled, one bit of [`Candidate::epochs`] each; and epochs after which a settled set is priced.
const SAMPLED_EPOCHS: u32 = 16;
/// The most candidates. All of them hot are two million slots to copy at each cut, beside which a generation takes no
/// time; more would be no use.
const CANDIDATES_MAX: usize = 4096;
/// Individuals of a population: the sampled sets, and as many unions of them.
const POPULATION: usize = 2 * SAMPLED_EPOCHS as usize;
/// Generations, one an epoch. By then the population is one family, and little changes any more.
const GENERATIONS: u32 = 32;
/// A gene of a child that is mutated flips if so many coins all say so: 1 in 64. Half of the children are mutated,
/// which makes it 0.008 overall.
const MUTATION_COINS: u32 = 6;
/// What it costs to predict a lane-block in one epoch that does not write it: a copy.
const COPY_COST: u8 = 1;
/// What it costs not to predict a lane-block in one epoch that does: a fault, reported as 8 times a page's copy.
const FAULT_COST: u8 = 8;
/// A settled set is evolved again once it costs so many times what it did in the sample.
const DRIFT: u64 = 2;
/// Where the random choices start. Any number would do.
const SEED: u64 = 0x5EED_0002;

/// A candidate's epochs fit into its mask, and its prices into a byte.
const _: () = assert!(SAMPLED_EPOCHS == u16::BITS && SAMPLED_EPOCHS * FAULT_COST as u32 <= u8::MAX as u32);

/// A lane-block that was written in a sampled epoch.
#[derive(Clone, Copy)]
struct Candidate {
    at: LaneBlock,
    /// In which of them: a bit each.
    epochs: u16,
}

impl Candidate {
    /// What it costs over the sampled epochs if it is left out, and if it is predicted.
    fn prices(self) -> [u8; 2] {
        let written = self.epochs.count_ones() as u8;
        [written * FAULT_COST, (SAMPLED_EPOCHS as u8 - written) * COPY_COST]
    }
}

/// The record of the sampled epochs.
#[derive(Default)]
struct Sample {
    /// Ascending.
    known: Vec<Candidate>,
    /// Written for the first time in this epoch, in no order.
    fresh: Vec<Candidate>,
    /// Whether this epoch wrote anything.
    written: bool,
    /// Epochs sampled so far.
    epochs: u32,
}

impl Sample {
    /// Records that this epoch wrote `at`.
    fn record(&mut self, at: LaneBlock, rng: &mut Rng) {
        self.written = true;
        let epoch = 1 << self.epochs;
        match self.known.binary_search_by_key(&at, |c| c.at) {
            Ok(i) => self.known[i].epochs |= epoch,
            Err(_) if self.fresh.len() < CANDIDATES_MAX => self.fresh.push(Candidate { at, epochs: epoch }),
            Err(_) => self.fresh[rng.below(CANDIDATES_MAX as u64) as usize] = Candidate { at, epochs: epoch },
        }
    }

    /// Ends the epoch. True if that was the last one.
    ///
    /// If the list is full, each newcomer draws a place. It gets it if whoever has it was written in one epoch only,
    /// and not in this one; so what is written often stays.
    fn end_epoch(&mut self, rng: &mut Rng) -> bool {
        if !std::mem::take(&mut self.written) {
            return false;
        }
        let epoch = 1 << self.epochs;
        for newcomer in self.fresh.drain(..) {
            if self.known.len() < CANDIDATES_MAX {
                self.known.push(newcomer);
                continue;
            }
            let place = &mut self.known[rng.below(CANDIDATES_MAX as u64) as usize];
            if place.epochs.is_power_of_two() && place.epochs != epoch {
                *place = newcomer;
            }
        }
        self.known.sort_unstable_by_key(|c| c.at);
        self.epochs += 1;
        self.epochs == SAMPLED_EPOCHS
    }

    /// Bytes of memory that the record takes.
    fn memory_bytes(&self) -> usize {
        (self.known.capacity() + self.fresh.capacity()) * size_of::<Candidate>()
    }
}

/// A set of candidates: gene i says whether candidate i is predicted.
struct Individual {
    genes: Vec<u64>,
    cost: u64,
}

impl Individual {
    /// The set with these genes. Those past the last candidate mean nothing.
    fn new(genes: Vec<u64>, prices: &[[u8; 2]]) -> Self {
        let price = |(word, prices): (&u64, &[[u8; 2]])| -> u64 {
            prices.iter().enumerate().map(|(bit, price)| u64::from(price[(word >> bit & 1) as usize])).sum()
        };
        let cost = genes.iter().zip(prices.chunks(64)).map(price).sum();
        Self { genes, cost }
    }

    /// Whether candidate `i` is in the set.
    fn has(&self, i: usize) -> bool {
        self.genes[i / 64] >> (i % 64) & 1 != 0
    }

    /// A child: each gene is that of one or the other parent, and then mutated or not.
    fn child(&self, other: &Self, prices: &[[u8; 2]], rng: &mut Rng) -> Self {
        let mutable = if rng.bits() & 1 == 0 { u64::MAX } else { 0 };
        let cross = |(one, two): (&u64, &u64)| {
            let from_one = rng.bits();
            let flips = (0..MUTATION_COINS).fold(mutable, |flips, _| flips & rng.bits());
            ((one & from_one) | (two & !from_one)) ^ flips
        };
        Self::new(self.genes.iter().zip(&other.genes).map(cross).collect(), prices)
    }
}

/// What one evolution works on.
struct Evolution {
    candidates: Vec<Candidate>,
    /// [`Candidate::prices`] of each.
    prices: Vec<[u8; 2]>,
    /// The best one comes first.
    population: Vec<Individual>,
    generation: u32,
}

impl Evolution {
    /// The first population.
    fn new(candidates: Vec<Candidate>, rng: &mut Rng) -> Self {
        let prices: Vec<_> = candidates.iter().map(|c| c.prices()).collect();
        let written_in = |epochs: u16| {
            let gene = |(bit, c): (usize, &Candidate)| u64::from(c.epochs & epochs != 0) << bit;
            let genes = candidates.chunks(64).map(|word| word.iter().enumerate().map(gene).sum()).collect();
            Individual::new(genes, &prices)
        };
        let mut epoch = || 1u16 << rng.below(SAMPLED_EPOCHS.into());
        let unions: Vec<_> = (SAMPLED_EPOCHS as usize..POPULATION).map(|_| epoch() | epoch()).collect();
        let mut population: Vec<_> = (0..SAMPLED_EPOCHS).map(|e| 1 << e).chain(unions).map(written_in).collect();
        best_first(&mut population);
        Self { candidates, prices, population, generation: 0 }
    }

    /// Replaces all but the best by its children. True if that was the last generation.
    fn next_generation(&mut self, rng: &mut Rng) -> bool {
        let (best, others) = self.population.split_first().expect("a population is never empty");
        let children: Vec<_> = others.iter().map(|_| best.child(draw(others, rng), &self.prices, rng)).collect();
        self.population.truncate(1);
        self.population.extend(children);
        best_first(&mut self.population);
        self.generation += 1;
        self.generation == GENERATIONS
    }

    /// The best individual as a set, and what it costs over the sampled epochs.
    fn best(&self) -> (LaneBlockSet, u64) {
        let (best, mut set) = (&self.population[0], LaneBlockSet::default());
        for (i, candidate) in self.candidates.iter().enumerate() {
            if best.has(i) {
                set.insert(candidate.at);
            }
        }
        (set, best.cost)
    }

    /// Bytes of memory that the evolution takes.
    fn memory_bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>()
            + self.prices.capacity() * size_of::<[u8; 2]>()
            + self.population.capacity() * size_of::<Individual>()
            + self.population.iter().map(|i| i.genes.capacity() * 8).sum::<usize>()
    }
}

/// Draws an individual in proportion to 1/cost.
fn draw<'a>(from: &'a [Individual], rng: &mut Rng) -> &'a Individual {
    // In integers, so that the same sample gives the same set on every machine. A cost is below 2^20, so no odds are 0.
    let odds = |individual: &Individual| (1 << 32) / individual.cost.max(1);
    let mut drawn = rng.below(from.iter().map(odds).sum());
    let hit = from.iter().find(|individual| match drawn.checked_sub(odds(individual)) {
        Some(rest) => {
            drawn = rest;
            false
        }
        None => true,
    });
    hit.expect("what is drawn is below the sum of the odds")
}

/// Swaps the cheapest to the front.
fn best_first(population: &mut [Individual]) {
    let best = (0..population.len()).min_by_key(|&i| population[i].cost).expect("a population is never empty");
    population.swap(0, best);
}

/// What the estimator is at.
enum Phase {
    Sampling(Sample),
    Evolving(Evolution),
    /// `epochs` of a window have gone by and cost `cost`; `expected` is what the whole window is to cost.
    Settled {
        epochs: u32,
        cost: u64,
        expected: u64,
    },
}

/// The genetic estimator: an evolved set is copied at each cut; everything else is armed slot by slot.
pub struct Genetic {
    phase: Phase,
    predicted: LaneBlockSet,
    rng: Rng,
}

impl Genetic {
    /// An estimator that starts sampling.
    pub fn new() -> Self {
        Self { phase: Phase::Sampling(Sample::default()), predicted: LaneBlockSet::default(), rng: Rng::new(SEED) }
    }
}

impl Policy for Genetic {
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung {
        let predicted = self.predicted.contains(at);
        if seen.state != State::Young {
            let written = seen.written != Written::Exactly(0);
            match &mut self.phase {
                Phase::Sampling(sample) if written => sample.record(at, &mut self.rng),
                Phase::Settled { cost, .. } if written && !predicted => *cost += u64::from(FAULT_COST),
                Phase::Settled { cost, .. } if !written && predicted => *cost += u64::from(COPY_COST),
                _ => {}
            }
        }
        if predicted { Rung::Hot(Eager::Copy) } else { Rung::Sparse }
    }

    fn end_epoch(&mut self) {
        match &mut self.phase {
            Phase::Sampling(sample) => {
                if sample.end_epoch(&mut self.rng) {
                    let candidates = std::mem::take(&mut sample.known);
                    self.phase = Phase::Evolving(Evolution::new(candidates, &mut self.rng));
                }
            }
            Phase::Evolving(evolution) => {
                if evolution.next_generation(&mut self.rng) {
                    let (predicted, expected) = evolution.best();
                    self.predicted = predicted;
                    self.phase = Phase::Settled { epochs: 0, cost: 0, expected };
                }
            }
            Phase::Settled { epochs, cost, expected } => {
                *epochs += 1;
                if *epochs < SAMPLED_EPOCHS {
                    return;
                }
                // Beyond that, a fault an epoch is allowed: else a set that fitted its sample to the bit would never
                // last.
                let allowed = DRIFT * *expected + u64::from(SAMPLED_EPOCHS) * u64::from(FAULT_COST);
                if *cost > allowed {
                    self.phase = Phase::Sampling(Sample::default());
                } else {
                    (*epochs, *cost) = (0, 0);
                }
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Sampling(sample) => sample.memory_bytes(),
            Phase::Evolving(evolution) => evolution.memory_bytes(),
            Phase::Settled { .. } => 0,
        };
        phase + self.predicted.memory_bytes()
    }
}
