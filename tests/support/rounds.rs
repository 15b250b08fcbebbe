//! How often a suite tries, with which seed, and how to say so.

use crate::process::{is_long, say, seed};
use rand::{SeedableRng, rngs::SmallRng};

/// Tries with `STREWN_CRASH=long`, for one otherwise.
const LONG: usize = 8;

/// A suite's random choices: how many rounds, and the seed of the rest.
pub struct Rounds {
    name: &'static str,
    replay: String,
    /// How many.
    pub count: usize,
}

impl Rounds {
    /// Rounds of `test` in the suite `suite`: `usual` many, more with `STREWN_CRASH=long`, or what `STREWN_ROUNDS` says. Prints how to have the same ones again.
    ///
    /// # Panics
    /// If `STREWN_ROUNDS` or `STREWN_SEED` is no number.
    pub fn new(suite: &str, test: &'static str, usual: usize) -> (Self, SmallRng) {
        let count = match std::env::var("STREWN_ROUNDS") {
            Ok(text) => text.parse().expect("STREWN_ROUNDS is a number"),
            Err(_) => usual * if is_long() { LONG } else { 1 },
        };
        let seed = seed();
        let replay = format!(
            "STREWN_MACHINES=1 STREWN_SEED={seed} STREWN_ROUNDS={count} cargo test -p strewn-tests --test {suite} {test}"
        );
        say(&format!("{test}: seed {seed}, {count} rounds; the same choices again: {replay}"));
        (Self { name: test, replay, count }, SmallRng::seed_from_u64(seed))
    }

    /// Says how it went.
    pub fn report(&self, what: &str) {
        say(&format!("{}: {what}", self.name));
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("{} failed; the same choices again: {}", self.name, self.replay));
        }
    }
}
