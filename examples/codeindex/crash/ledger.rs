//! [`Ledger`]: what the child told, and whether what was recovered agrees with it. No input, no output.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt;

/// A state of the index: how many changes it has seen, and the digest of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How many changes.
    pub generation: u64,
    /// The digest.
    pub digest: u64,
}

/// What a child tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// It recovered this state.
    Opened(State),
    /// It made this state, and no checkpoint has it yet.
    Made(State),
    /// A checkpoint that has all changes up to this one is durable.
    Durable(u64),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(State { generation, digest }) => write!(f, "opened {generation} {digest}"),
            Self::Made(State { generation, digest }) => write!(f, "made {generation} {digest}"),
            Self::Durable(generation) => write!(f, "durable {generation}"),
        }
    }
}

impl Message {
    /// The message in `line`.
    pub fn parse(line: &str) -> Result<Self> {
        let garbled = || format!("the child said `{line}`");
        let mut fields = line.split(' ');
        let what = fields.next().with_context(garbled)?;
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok()).with_context(garbled);
        let generation = number()?;
        Ok(match what {
            "opened" => Self::Opened(State { generation, digest: number()? }),
            "made" => Self::Made(State { generation, digest: number()? }),
            "durable" => Self::Durable(generation),
            _ => bail!(garbled()),
        })
    }
}

/// What the children told, of states that may still be recovered.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The digest of each generation.
    made: BTreeMap<u64, u64>,
    /// The last generation that must not be lost.
    durable: u64,
    /// Acknowledged checkpoints, since the last time this was taken.
    acknowledged: u64,
}

impl Default for Ledger {
    /// The empty index, which nobody announces, is generation 0.
    fn default() -> Self {
        Self { made: BTreeMap::from([(0, 0)]), durable: 0, acknowledged: 0 }
    }
}

impl Ledger {
    /// Notes what a child told.
    ///
    /// # Errors
    /// If it contradicts what is known.
    pub fn note(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Opened(state) => self.judge(state).context("the child recovered something else")?,
            Message::Made(State { generation, digest }) => {
                let last = self.made.last_key_value().map_or(0, |(last, _)| *last);
                ensure!(generation == last + 1, "the child made generation {generation} of {last}");
                self.made.insert(generation, digest);
            }
            Message::Durable(generation) => {
                ensure!(self.made.contains_key(&generation), "generation {generation} is durable, but nobody made it");
                self.durable = self.durable.max(generation);
                self.acknowledged += 1;
            }
        }
        Ok(())
    }

    /// Compares a recovered state with what was told, and forgets the states that are lost with the crash.
    ///
    /// # Errors
    /// If something acknowledged was lost, or no checkpoint can have had this state.
    pub fn judge(&mut self, recovered: State) -> Result<()> {
        let State { generation, digest } = recovered;
        let durable = self.durable;
        ensure!(generation >= durable, "LOST: generation {durable} was durable, {generation} was recovered");
        let Some(made) = self.made.get(&generation) else {
            bail!("INVENTED: generation {generation} was recovered, and nobody made it");
        };
        ensure!(
            digest == *made,
            "TORN: generation {generation} was made with digest {made:016x} and recovered with {digest:016x}"
        );
        self.made.split_off(&(generation + 1));
        self.durable = generation;
        Ok(())
    }

    /// How many checkpoints were acknowledged since the last call.
    pub fn take_acknowledged(&mut self) -> u64 {
        std::mem::take(&mut self.acknowledged)
    }

    /// Falsifies the digests, so that the next judgement must fail.
    pub fn doctor_digests(&mut self) {
        self.made.values_mut().for_each(|digest| *digest ^= 1 << 40);
    }

    /// Pretends that one more generation was made and durable, so that the next judgement must fail.
    pub fn doctor_durable(&mut self) {
        self.durable = self.made.last_key_value().map_or(0, |(last, _)| *last) + 1;
    }
}
