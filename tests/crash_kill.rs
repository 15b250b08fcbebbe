//! Kills processes that work on heaps, at random times, and looks at what they leave.
//!
//! Each process works on several heaps at once, with several threads each. After each kill every heap must open, at a generation no older than the last one that was
//! acknowledged for it, with every invariant of its bank intact; the next process then works on the same heaps. There are heaps for each tracker, and some for
//! each of some ladders by huge pages.
//!
//! `STREWN_KILLS` overrides how many kills, `STREWN_CRASH=long` makes them many, `STREWN_SEED` replays the choices (not the scheduling of threads).

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use strewn::{ErrorKind, Heap, Mapping, PolicyKind, TrackerKind};
use strewn_tests::bank::Bank;
use strewn_tests::process::{SeedOnFailure, alone, describe, fast_dir, say, seed};
use strewn_tests::trackers::{huge_pages_are_missing, trackers};

const KILLS: usize = 300;
const KILLS_LONG: usize = 3_000;
/// Heaps of one process.
const HEAPS: usize = 2;
/// Processes at a time: most of one's life is waiting for the disk, and for its end.
const AT_ONCE: usize = 3;
/// How many checkpoints a process may have made of each heap at least before it is killed.
const CHECKPOINTS_MAX: usize = 6;
/// How long that may take.
const SLOWEST: Duration = Duration::from_secs(3);
/// What is known to work the ladder, one way or another.
const POLICIES: [PolicyKind; 3] = [PolicyKind::Adaptive, PolicyKind::Coarse, PolicyKind::ActiveCks];
const WORKER: &str = env!("CARGO_BIN_EXE_strewn-crash-child");

const MAPPING: Mapping = Mapping::Huge;

/// The heaps of one process after the other, over all kills.
struct Victim {
    tracker: TrackerKind,
    /// None for heaps with what is default, and without a crowd.
    policy: Option<PolicyKind>,
    heaps: [Account; HEAPS],
    rng: SmallRng,
    kills: usize,
    kills_before_open: usize,
}

/// What is known of one heap.
struct Account {
    path: PathBuf,
    /// The last generation that is durable.
    acknowledged: u64,
    said: Said,
}

/// What a process said of a heap before it was killed; or what all of them said.
#[derive(Default)]
struct Said {
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
    let usual = if std::env::var("STREWN_CRASH").is_ok_and(|size| size == "long") { KILLS_LONG } else { KILLS };
    let kills = std::env::var("STREWN_KILLS").map_or(usual, |n| n.parse().expect("STREWN_KILLS is a number"));
    let (dir, memory) = (tempfile::tempdir().unwrap(), fast_dir());
    let mut victims = victims(seed, dir.path(), memory.path());
    // Each victim's share of the kills, by how far it is from the last.
    let shares: Vec<usize> = (0..victims.len()).map(|i| (kills + i) / victims.len()).collect();
    std::thread::scope(|scope| {
        let mut groups: Vec<Vec<(&mut Victim, usize)>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
        for (i, one) in victims.iter_mut().zip(shares).enumerate() {
            groups[i % AT_ONCE].push(one);
        }
        for group in groups {
            scope.spawn(move || group.into_iter().for_each(|(victim, kills)| (0..kills).for_each(|_| victim.round())));
        }
    });
    let all = |count: fn(&Said) -> u64| -> u64 {
        victims.iter().flat_map(|victim| &victim.heaps).map(|heap| count(&heap.said)).sum()
    };
    say(&format!(
        "crash_kill: seed {seed}, {kills} kills of processes with {HEAPS} heaps, {} checkpoints acknowledged, at least {} folds",
        all(|said| said.checkpoints),
        all(|said| said.folds)
    ));
    victims.iter().for_each(Victim::report);
}

fn victims(seed: u64, dir: &Path, memory: &Path) -> Vec<Victim> {
    let trackers = trackers();
    let mut kinds: Vec<(TrackerKind, Option<PolicyKind>)> = trackers.iter().map(|tracker| (*tracker, None)).collect();
    if trackers.contains(&TrackerKind::Async) {
        kinds.extend(POLICIES.map(|policy| (TrackerKind::Async, Some(policy))));
    }
    let victim = |(i, (tracker, policy)): (usize, (TrackerKind, Option<PolicyKind>))| {
        // A ladder wants many checkpoints, whatever the disk.
        let dir = if policy.is_some() { memory } else { dir };
        let name = policy.map_or_else(|| tracker.to_string(), |policy| format!("{tracker}-{policy}"));
        let path = |heap| dir.join(format!("{name}-{heap}.heap"));
        let heaps = std::array::from_fn(|i| Account { path: path(i), acknowledged: 0, said: Said::default() });
        let rng = SmallRng::seed_from_u64(seed.wrapping_add(i as u64));
        Victim { tracker, policy, heaps, rng, kills: 0, kills_before_open: 0 }
    };
    kinds.into_iter().enumerate().map(victim).collect()
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
        let Self { kills, kills_before_open, .. } = self;
        say(&format!("  {self}: {kills} kills ({kills_before_open} before the heaps were open)"));
        for (i, Account { acknowledged, said, .. }) in self.heaps.iter().enumerate() {
            let Said { checkpoints, folds, huge, wakes, refined, eager, .. } = said;
            let ladder = format!(
                "; up to {huge} huge pages, {wakes} lane-blocks woke, {refined} refined, {eager} slots looked at"
            );
            say(&format!(
                "    heap {i}: {checkpoints} checkpoints acknowledged, last generation {acknowledged}, at least {folds} folds{}",
                if self.policy.is_some() { &ladder } else { "" }
            ));
            if *kills < 20 {
                continue;
            }
            assert!(*checkpoints >= *kills as u64 / 4 && *folds >= 3, "{self}: too little happened");
            let Some(policy) = self.policy else { continue };
            if *huge == 0 {
                huge_pages_are_missing("no block of the crowd is one");
                continue;
            }
            let worked = match policy {
                PolicyKind::ActiveCks => *refined > 0 && *eager > 0,
                PolicyKind::Adaptive => *wakes > 0 && *eager > 0,
                _ => *wakes > 0,
            };
            assert!(worked, "{self}: the ladder had too little to do");
        }
    }

    /// One process, from its start to its kill, and a look at its heaps.
    fn round(&mut self) {
        let rng = &mut self.rng;
        let mut command = Command::new(WORKER);
        let ladder = self.policy.map_or_else(|| "-".to_owned(), |policy| format!("{MAPPING},{policy}"));
        command.args([self.tracker.to_string(), rng.random::<u64>().to_string(), ladder]);
        command.args(self.heaps.iter().map(|heap| &heap.path));
        let (early, close) = (rng.random_range(0..5) == 0, rng.random_range(0..10) == 0);
        let waits = [12_000, 40_000, 3_000].map(|most| Duration::from_micros(rng.random_range(0..most)));
        let checkpoints = rng.random_range(0..CHECKPOINTS_MAX);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut heard = Vec::new();
        if early {
            std::thread::sleep(waits[0]);
        } else {
            let line = lines.recv_timeout(Duration::from_secs(20));
            assert_eq!(line.as_deref(), Ok("open"), "{self}: the child did not open the heaps in time");
            heard.extend(line);
            std::thread::sleep(waits[1]);
            // A slow disk makes few checkpoints in that time.
            let until = Instant::now() + SLOWEST;
            let enough = |heard: &[String]| (0..HEAPS).all(|i| said_of(heard, i).checkpoints >= checkpoints as u64);
            while !enough(&heard) && Instant::now() < until {
                heard.extend(lines.recv_timeout(until.saturating_duration_since(Instant::now())));
            }
            std::thread::sleep(waits[2]);
        }
        self.kill(child);
        heard.extend(lines.iter());
        self.kills += 1;
        self.kills_before_open += usize::from(heard.is_empty());
        for i in 0..HEAPS {
            let said = said_of(&heard, i);
            let heap = &mut self.heaps[i];
            heap.acknowledged = heap.acknowledged.max(said.last);
            heap.said.add(&said);
            self.heaps[i].acknowledged = self.look(i, close);
        }
    }

    fn kill(&self, mut child: Child) {
        let already_ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!already_ended, "{self}: the child ended by itself: {}", describe(&output));
        // A thread that panics does not end the process.
        assert!(output.stderr.is_empty(), "{self}: {}", describe(&output));
    }

    /// Opens heap `i`, checks everything, and returns the generation that it is at.
    fn look(&self, i: usize, close: bool) -> u64 {
        let Account { path, acknowledged, .. } = &self.heaps[i];
        let context = format!("{self}: heap {i} after {} kills", self.kills);
        let options = Heap::options().tracker(self.tracker);
        let options = match self.policy {
            None => options,
            Some(policy) => options.mapping(MAPPING).policy(policy),
        };
        // Heaps of two victims may want the same addresses.
        let _alone = alone();
        let heap = match options.open(path) {
            Ok(heap) => heap,
            // The first process may have been killed before it made the heap.
            Err(e) if e.kind() == ErrorKind::NotFound && *acknowledged == 0 => return 0,
            Err(e) => panic!("{context}: {e}; kept at {}", keep(path).display()),
        };
        match Bank::verify(&heap) {
            Ok(found) if found.generation >= *acknowledged => {
                if close {
                    heap.close().unwrap_or_else(|e| panic!("{context}: {e}"));
                }
                found.generation
            }
            Ok(found) => panic!(
                "{context}: generation {}, but {acknowledged} was acknowledged; kept at {}",
                found.generation,
                keep(path).display()
            ),
            Err(what) => panic!("{context}: {what}; kept at {}", keep(path).display()),
        }
    }
}

/// What was said of heap `i`.
fn said_of(lines: &[String], i: usize) -> Said {
    let mut said = Said::default();
    lines.iter().for_each(|line| said.hear(line, i));
    said
}

impl Said {
    /// Takes note of a line, if it is about heap `i`.
    fn hear(&mut self, line: &str, i: usize) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open"] => {}
            ["durable", heap, ref numbers @ ..] => {
                if heap != i.to_string() {
                    return;
                }
                let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
                let [last, folds, huge, wakes, refined, eager] = numbers[..] else { panic!("the child said {line:?}") };
                let checkpoints = self.checkpoints + 1;
                *self = Self { last, checkpoints, folds, huge: self.huge.max(huge), wakes, refined, eager };
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
