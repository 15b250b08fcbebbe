//! The ways to write: which objects are modified before each checkpoint. All contestants get the same.

use crate::population::{Picks, Population, shuffled};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::collections::HashSet;
use std::rc::Rc;

/// A way to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// A thousandth of the objects at random, others each time.
    Uniform,
    /// As many draws as a hundredth of the objects, with Zipf's distribution; popular objects are scattered.
    Zipf,
    /// The same tenth each time: neighbours in the order of allocation.
    Tenth,
    /// All.
    Everything,
    /// As many checkpoints of `Uniform` as a turn has, then as many of `Everything`, and so on.
    Phases,
}

/// Zipf's exponent: the r-th most popular object is drawn with a probability proportional to 1 / r^this.
const EXPONENT: f64 = 0.99;

/// What is written before one checkpoint.
#[derive(Clone)]
pub struct Step {
    /// The objects, in the order of writing. One may be there several times.
    pub picks: Rc<[u32]>,
    /// How many different ones.
    pub distinct: usize,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Uniform, Self::Zipf, Self::Tenth, Self::Everything, Self::Phases];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "0.1 % at random",
            Self::Zipf => "zipfian",
            Self::Tenth => "one dense tenth",
            Self::Everything => "everything",
            Self::Phases => "phases: 0.1 % at random, everything",
        }
    }

    /// Whether so many objects are written that catching each takes minutes; by signals, if `signals`.
    pub fn is_heavy(self, signals: bool) -> bool {
        matches!(self, Self::Everything | Self::Phases) || (signals && self == Self::Tenth)
    }

    /// What is written before each of `checkpoints`, in phases of `phase`, to a population like this one.
    pub fn steps(self, population: &Population, checkpoints: usize, phase: usize) -> Vec<Step> {
        let objects = population.objects();
        let uniform = |checkpoint: usize| {
            let mut rng = SmallRng::seed_from_u64(checkpoint as u64);
            Step::distinct(population.pick(&mut rng, (objects / 1000).max(1)))
        };
        let everything = Step::distinct((0..objects as u32).collect());
        let tenth = objects / 3;
        let tenth = Step::distinct((tenth as u32..(tenth + objects / 10) as u32).collect());
        let zipf = (self == Self::Zipf).then(|| Zipf::new(objects));
        let step = |checkpoint: usize| match self {
            Self::Uniform => uniform(checkpoint),
            Self::Zipf => zipf.as_ref().expect("made above").draw(checkpoint as u64, (objects / 100).max(1)),
            Self::Tenth => tenth.clone(),
            Self::Everything => everything.clone(),
            Self::Phases if (checkpoint / phase).is_multiple_of(2) => uniform(checkpoint),
            Self::Phases => everything.clone(),
        };
        (0..checkpoints).map(step).collect()
    }
}

impl Step {
    fn distinct(picks: Picks) -> Self {
        Self { distinct: picks.len(), picks: picks.into() }
    }
}

/// Draws objects by popularity.
struct Zipf {
    /// Of the objects up to each rank, the probabilities added up, but for a factor.
    cumulative: Vec<f64>,
    /// The object of each rank.
    objects: Picks,
}

impl Zipf {
    fn new(objects: usize) -> Self {
        let sum = |sum: &mut f64, rank: usize| {
            *sum += (rank as f64).powf(-EXPONENT);
            Some(*sum)
        };
        Self { cumulative: (1..=objects).scan(0.0, sum).collect(), objects: shuffled(objects, 1) }
    }

    fn draw(&self, seed: u64, draws: usize) -> Step {
        let mut rng = SmallRng::seed_from_u64(seed);
        let all = self.cumulative.last().copied().unwrap_or_default();
        let mut one = || {
            let at = rng.random_range(0.0..all);
            self.objects[self.cumulative.partition_point(|sum| *sum <= at)]
        };
        let picks: Picks = (0..draws).map(|_| one()).collect();
        Step { distinct: picks.iter().collect::<HashSet<_>>().len(), picks: picks.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popular_objects_are_drawn_as_often_as_zipf_says() {
        let zipf = Zipf::new(1000);
        let step = zipf.draw(3, 100_000);
        let count = |rank: usize| step.picks.iter().filter(|pick| **pick == zipf.objects[rank - 1]).count() as f64;
        let near = |ratio: f64, wanted: f64| (ratio / wanted - 1.0).abs() < 0.1;
        assert!(near(count(1) / count(2), 2f64.powf(EXPONENT)), "{} {}", count(1), count(2));
        assert!(near(count(1) / count(10), 10f64.powf(EXPONENT)), "{} {}", count(1), count(10));
        assert!(step.distinct > 900 && step.distinct <= 1000);
    }
}
