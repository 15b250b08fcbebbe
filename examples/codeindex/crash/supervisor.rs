//! Who kills: spawns children, kills them, recovers what they left, and has the ledger judge.

use super::ledger::{Ledger, Message, State};
use crate::audit::Audit;
use crate::store::Store;
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use strewn::{ErrorKind, Heap};

/// Every fourth child, the first among them, is killed this soon after its start: while it creates the heap or recovers it, or has just begun.
const EARLY_MS_MAX: u64 = 40;
/// The others are killed this soon after they have recovered.
const LATE_MS_MAX: u64 = 500;
/// A child that takes longer to recover hangs.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// The arguments of `crash`.
#[derive(clap::Args)]
pub struct CrashArgs {
    /// How many times to kill
    #[arg(value_name = "N")]
    rounds: u64,
    /// Directories to index [default: this repository, and the sources in the local cargo registry]
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Chooses the instants and the work; printed, so that a run can be repeated (as far as clocks allow)
    #[arg(long)]
    seed: Option<u64>,
    /// Falsifies what is expected, to prove that the comparison can fail
    #[arg(long, hide = true)]
    doctor: Option<Doctor>,
}

/// What is falsified before the last judgement.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Doctor {
    Digests,
    Durable,
}

/// What one child came to.
struct Death {
    after: Duration,
    /// Whether it had recovered.
    opened: bool,
}

/// Kills `rounds` children on a new heap at `path`, which is removed if all went well.
pub fn supervise(path: &Path, args: &CrashArgs) -> Result<ExitCode> {
    ensure!(!path.exists(), "{} exists: `crash` wants a heap of its own, and removes it", path.display());
    let seed = args.seed.unwrap_or_else(any_seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ledger = Ledger::default();
    let (mut early, mut checkpoints) = (0, 0);
    println!("seed {seed}");
    println!("round  killed after  while       checkpoints  recovered generation  files   words    objects");
    for round in 1..=args.rounds {
        let death = kill_one(path, args, &mut rng, (round, seed), &mut ledger)?;
        let acknowledged = ledger.take_acknowledged();
        if round == args.rounds {
            match args.doctor {
                Some(Doctor::Digests) => ledger.doctor_digests(),
                Some(Doctor::Durable) => ledger.doctor_durable(),
                None => {}
            }
        }
        let (found, objects) = recover(path, &mut ledger).with_context(|| format!("round {round} of seed {seed}"))?;
        println!(
            "{round:5}  {:9} ms  {}  {acknowledged:11}  {:20}  {:<6}  {:<7}  {:<7}  ok",
            death.after.as_millis(),
            if death.opened { "indexing  " } else { "recovering" },
            found.generation,
            found.files,
            found.words,
            objects,
        );
        checkpoints += acknowledged;
        early += u64::from(!death.opened);
    }
    // If all children were killed while they created it, this clears away what they left.
    drop(Heap::open_or_create(path)?);
    std::fs::remove_dir_all(path)?;
    println!(
        "{} kills, {early} of them before the child had recovered; {checkpoints} checkpoints; every recovered index equals one that was checkpointed",
        args.rounds
    );
    Ok(ExitCode::SUCCESS)
}

/// Spawns a child, listens to it, and kills it at a random instant.
fn kill_one(
    path: &Path,
    args: &CrashArgs,
    rng: &mut StdRng,
    (round, seed): (u64, u64),
    ledger: &mut Ledger,
) -> Result<Death> {
    let early = Duration::from_millis(rng.random_range(0..EARLY_MS_MAX));
    let late = Duration::from_micros(rng.random_range(0..LATE_MS_MAX * 1000));
    let is_early = round % 4 == 1;
    let started = Instant::now();
    let child = Command::new(std::env::current_exe()?)
        .arg("--heap")
        .arg(path)
        .args(["crash-child", "--seed", &seed.wrapping_add(round).to_string(), "--"])
        .args(&args.dirs)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a child")?;
    let mut victim = Victim(child);
    let messages = listen(victim.0.stdout.take().context("the child has no stdout")?);
    let mut deadline = started + if is_early { early } else { RECOVERY_MAX };
    let mut opened = false;
    let outcome = loop {
        match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) if !is_early && !opened => break Err("the child does not recover"),
            Err(RecvTimeoutError::Timeout) => break Ok(()),
            Err(RecvTimeoutError::Disconnected) => break Err("the child ended by itself"),
            Ok(message) => {
                if !is_early && !opened {
                    deadline = Instant::now() + late;
                }
                opened |= matches!(message, Ok(Message::Opened(_)));
                ledger.note(message?)?;
            }
        }
    };
    let after = started.elapsed();
    drop(victim);
    for message in messages {
        opened |= matches!(message, Ok(Message::Opened(_)));
        ledger.note(message?)?;
    }
    match outcome {
        Ok(()) => Ok(Death { after, opened }),
        Err(what) => bail!("round {round} of seed {seed}: {what}"),
    }
}

/// A child that is killed (SIGKILL) and gone when this is dropped.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("a child that nobody has waited for can be killed");
    }
}

/// The standard library's source of random numbers.
fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What the child tells, until it dies.
fn listen(stdout: ChildStdout) -> Receiver<Result<Message>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let message = line.map_err(anyhow::Error::from).and_then(|line| Message::parse(&line));
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Opens what the child left behind, checks all of it, and has the ledger judge. Returns what was found, and how many objects the heap has.
fn recover(path: &Path, ledger: &mut Ledger) -> Result<(Audit, u64)> {
    let (found, objects) = match Heap::options().verify(true).open(path) {
        // Killed before the heap was there.
        Err(e) if e.kind() == ErrorKind::NotFound => Default::default(),
        Err(e) => return Err(e.into()),
        Ok(heap) => audit(&heap)?,
    };
    ledger.judge(State { generation: found.generation, digest: found.digest })?;
    Ok((found, objects))
}

/// Checks the allocator and the index, and that the heap holds the index's objects and no others. Nothing is changed, and the heap is not closed: the next
/// child recovers from what the crash left.
fn audit(heap: &Heap) -> Result<(Audit, u64)> {
    heap.check();
    let store = Store::open(heap)?;
    let found = store.map_or_else(|| Ok(Ok(Audit::default())), |store| store.read(|index| index.audit()))??;
    let leaks = heap.leaks()?;
    ensure!(leaks.objects.is_empty() && leaks.miscounted.is_empty(), "LEAKED: {leaks}");
    Ok((found, leaks.reached))
}
