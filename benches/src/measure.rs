//! Medians and interleaving: how every scenario turns noisy runs into a figure.

use anyhow::Result;
use std::time::{Duration, Instant};

/// Measurements of one thing, in one unit.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The value that `quantile` (0 to 1) of the samples do not exceed; between two samples, the mean weighted by distance. NaN without samples.
    pub fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let at = quantile * last as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// The median of one aspect of many measurements.
pub fn median_of<T>(runs: &[T], aspect: impl Fn(&T) -> f64) -> f64 {
    runs.iter().map(aspect).collect::<Samples>().median()
}

/// How often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// Rounds that are thrown away.
    pub warm: usize,
    /// Rounds that count.
    pub repeats: usize,
    /// After this time no further round begins, but one counts in any case.
    pub patience: Duration,
}

impl Rounds {
    /// All of them, however long it takes.
    pub fn all(warm: usize, repeats: usize) -> Self {
        Self { warm, repeats, patience: Duration::MAX }
    }
}

/// Measures all `sides` in turn, again and again, so that whatever disturbs the machine disturbs them alike. Returns the measurements by side.
///
/// # Errors
/// The first of `one`.
pub fn interleave<S, T>(
    sides: &mut [S],
    rounds: Rounds,
    mut one: impl FnMut(&mut S, usize) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let start = Instant::now();
    let mut runs: Vec<_> = sides.iter().map(|_| Vec::with_capacity(rounds.repeats)).collect();
    for round in 0..rounds.warm + rounds.repeats {
        if round > rounds.warm && start.elapsed() > rounds.patience {
            break;
        }
        for (side, runs) in sides.iter_mut().zip(&mut runs) {
            let run = one(side, round)?;
            if round >= rounds.warm {
                runs.push(run);
            }
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_samples() {
        let samples: Samples = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert_eq!((samples.median(), samples.quantile(1.0), samples.quantile(0.0)), (2.5, 4.0, 1.0));
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn without_patience_one_round_counts() {
        let rounds = Rounds { warm: 1, repeats: 9, patience: Duration::ZERO };
        assert_eq!(interleave(&mut [()], rounds, |(), round| Ok(round)).unwrap(), [[1]]);
    }

    #[test]
    fn sides_take_turns_and_warm_rounds_do_not_count() {
        let mut order = Vec::new();
        let runs = interleave(&mut ['a', 'b'], Rounds::all(1, 2), |side, round| {
            order.push((*side, round));
            Ok(round)
        });
        assert_eq!(runs.unwrap(), [[1, 2], [1, 2]]);
        assert_eq!(order, [('a', 0), ('b', 0), ('a', 1), ('b', 1), ('a', 2), ('b', 2)]);
    }
}
