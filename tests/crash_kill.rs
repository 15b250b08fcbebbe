//! Kills processes that work on a heap, at random times, and looks at what they leave.
//!
//! After each kill the heap must open, at a generation no older than the last one acknowledged, with every invariant of
//! the bank intact; the next process then works on the same heap. One heap for each tracker, in turn, and one for each of some ladders by huge pages.
//!
//! `STREWN_KILLS` overrides how many, `STREWN_SEED` replays the choices (not the scheduling of threads).

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use strewn::{ErrorKind, Heap, Mapping, PolicyKind, TrackerKind};
use strewn_tests::bank::Bank;
use strewn_tests::process::{SeedOnFailure, describe, fast_dir, say, seed};
use strewn_tests::trackers::{huge_pages_are_missing, trackers};

const KILLS: usize = 126;
/// How many checkpoints a process may have made at least before it is killed.
const CHECKPOINTS_MAX: u32 = 10;
/// How long that may take.
const SLOWEST: Duration = Duration::from_secs(3);
/// What is known to work the ladder, one way or another.
const POLICIES: [PolicyKind; 3] = [PolicyKind::Adaptive, PolicyKind::Coarse, PolicyKind::ActiveCks];
const WORKER: &str = env!("CARGO_BIN_EXE_strewn-crash-child");

const MAPPING: Mapping = Mapping::Huge;

/// One heap, over all its kills.
struct Victim {
    tracker: TrackerKind,
    /// None for a heap with what is default, and without a crowd.
    policy: Option<PolicyKind>,
    path: PathBuf,
    kills: usize,
    kills_before_open: usize,
    acknowledged: u64,
    said: Said,
}

/// What a process said before it was killed; or what all of them said.
#[derive(Default)]
struct Said {
    open: bool,
    last: u64,
    checkpoints: u64,
    folds: u64,
    /// Blocks that were huge pages; the most there were.
    huge: u64,
    wakes: u64,
    refined: u64,
    eager: u64,
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_and_tears_nothing() {
    let seed = seed();
    let _tell = SeedOnFailure(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    let kills = std::env::var("STREWN_KILLS").map_or(KILLS, |n| n.parse().expect("STREWN_KILLS is a number"));
    let (dir, memory) = (tempfile::tempdir().unwrap(), fast_dir());
    let victim = |tracker, policy: Option<PolicyKind>| {
        // A ladder wants many checkpoints, whatever the disk.
        let dir = if policy.is_some() { memory.path() } else { dir.path() };
        let name = policy.map_or_else(|| format!("{tracker}.heap"), |policy| format!("{tracker}-{policy}.heap"));
        let said = Said::default();
        Victim { tracker, policy, path: dir.join(name), kills: 0, kills_before_open: 0, acknowledged: 0, said }
    };
    let mut victims: Vec<Victim> = trackers().into_iter().map(|tracker| victim(tracker, None)).collect();
    if trackers().contains(&TrackerKind::Async) {
        victims.extend(POLICIES.map(|policy| victim(TrackerKind::Async, Some(policy))));
    }
    for kill in 0..kills {
        let i = kill % victims.len();
        victims[i].round(&mut rng);
    }
    say(&format!("crash_kill: seed {seed}, {kills} kills"));
    victims.iter().for_each(Victim::report);
}

impl std::fmt::Display for Victim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.policy {
            None => write!(f, "{}", self.tracker),
            Some(policy) => write!(f, "{}, {MAPPING} pages, {policy}", self.tracker),
        }
    }
}

impl Victim {
    fn report(&self) {
        let Self { kills, kills_before_open, acknowledged, said, .. } = self;
        let Said { checkpoints, folds, huge, wakes, refined, eager, .. } = said;
        say(&format!(
            "  {self}: {kills} kills ({kills_before_open} before the heap was open), {checkpoints} checkpoints acknowledged, \
             last generation {acknowledged}, at least {folds} folds"
        ));
        if *kills < 20 {
            return;
        }
        assert!(*checkpoints >= *kills as u64 / 4 && *folds >= 3, "{self}: too little happened");
        let Some(policy) = self.policy else { return };
        if *huge == 0 {
            return huge_pages_are_missing("no block of the crowd is one");
        }
        say(&format!(
            "    up to {huge} huge pages, {wakes} lane-blocks woke, {refined} refined, {eager} slots looked at"
        ));
        let worked = match policy {
            PolicyKind::ActiveCks => *refined > 0 && *eager > 0,
            PolicyKind::Adaptive => *wakes > 0 && *eager > 0,
            _ => *wakes > 0,
        };
        assert!(worked, "{self}: the ladder had too little to do");
    }

    fn round(&mut self, rng: &mut SmallRng) {
        let mut command = Command::new(WORKER);
        command.arg(&self.path).arg(self.tracker.to_string()).arg(rng.random::<u64>().to_string());
        if let Some(policy) = self.policy {
            command.args([MAPPING.to_string(), policy.to_string()]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let early = rng.random_range(0..5) == 0;
        let mut heard = Vec::new();
        if early {
            std::thread::sleep(Duration::from_micros(rng.random_range(0..12_000)));
        } else {
            let line = lines.recv_timeout(Duration::from_secs(20));
            assert_eq!(line.as_deref(), Ok("open"), "{self}: the child did not open the heap in time");
            heard.extend(line);
            std::thread::sleep(Duration::from_micros(rng.random_range(1_000..40_000)));
            // A slow disk makes few checkpoints in that time.
            let until = Instant::now() + SLOWEST;
            for _ in 0..rng.random_range(0..CHECKPOINTS_MAX) {
                heard.extend(lines.recv_timeout(until.saturating_duration_since(Instant::now())));
            }
            std::thread::sleep(Duration::from_micros(rng.random_range(0..3_000)));
        }
        self.kill(child);
        let mut said = Said::default();
        heard.into_iter().chain(lines.iter()).for_each(|line| said.hear(&line));
        self.kills += 1;
        self.kills_before_open += usize::from(!said.open);
        self.acknowledged = self.acknowledged.max(said.last);
        self.said.add(&said);
        self.acknowledged = self.look(rng.random_range(0..10) == 0);
    }

    fn kill(&self, mut child: Child) {
        let already_ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!already_ended, "{self}: the child ended by itself: {}", describe(&output));
    }

    /// Opens the heap, checks everything, and returns the generation that it is at.
    fn look(&self, close: bool) -> u64 {
        let context = format!("{self}: heap after {} kills", self.kills);
        let options = Heap::options().tracker(self.tracker);
        let options = match self.policy {
            None => options,
            Some(policy) => options.mapping(MAPPING).policy(policy),
        };
        let heap = match options.open(&self.path) {
            Ok(heap) => heap,
            // The first process may have been killed before it made the heap.
            Err(e) if e.kind() == ErrorKind::NotFound && self.acknowledged == 0 => return 0,
            Err(e) => panic!("{context}: {e}; kept at {}", keep(&self.path).display()),
        };
        match Bank::verify(&heap) {
            Ok(found) if found.generation >= self.acknowledged => {
                if close {
                    heap.close().unwrap_or_else(|e| panic!("{context}: {e}"));
                }
                found.generation
            }
            Ok(found) => panic!(
                "{context}: generation {}, but {} was acknowledged; kept at {}",
                found.generation,
                self.acknowledged,
                keep(&self.path).display()
            ),
            Err(what) => panic!("{context}: {what}; kept at {}", keep(&self.path).display()),
        }
    }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open"] => self.open = true,
            ["durable", ref numbers @ ..] => {
                let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
                let [last, folds, huge, wakes, refined, eager] = numbers[..] else { panic!("the child said {line:?}") };
                let (open, checkpoints) = (self.open, self.checkpoints + 1);
                *self = Self { open, last, checkpoints, folds, huge: self.huge.max(huge), wakes, refined, eager };
            }
            _ => panic!("the child said {line:?}"),
        }
    }

    fn add(&mut self, other: &Self) {
        self.checkpoints += other.checkpoints;
        self.folds += other.folds;
        self.huge = self.huge.max(other.huge);
        self.wakes += other.wakes;
        self.refined += other.refined;
        self.eager += other.eager;
    }
}

fn read_lines(out: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Copies a heap that shows a bug beside the temporary directory, which is removed.
fn keep(heap: &Path) -> PathBuf {
    let copy = std::env::temp_dir().join(format!("strewn-kept-{}", std::process::id()));
    strewn_tests::files::Snapshot::take(heap).restore(&copy);
    copy
}
