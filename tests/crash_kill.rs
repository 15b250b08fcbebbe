//! Kills processes that work on a heap, at random times, and looks at what they leave.
//!
//! After each kill the heap must open, at a generation no older than the last one acknowledged, with every invariant of
//! the bank intact; the next process then works on the same heap. One heap for each tracker, in turn.
//!
//! `STREWN_KILLS` overrides how many, `STREWN_SEED` replays the choices (not the scheduling of threads).

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use strewn::{ErrorKind, Heap, TrackerKind};
use strewn_tests::bank::Bank;
use strewn_tests::process::{SeedOnFailure, describe, say, seed};
use strewn_tests::trackers::trackers;

const KILLS: usize = 105;
const WORKER: &str = env!("CARGO_BIN_EXE_strewn-crash-child");

/// One heap, over all its kills.
struct Victim {
    tracker: TrackerKind,
    path: PathBuf,
    kills: usize,
    kills_before_open: usize,
    acknowledged: u64,
    checkpoints: u64,
    folds: u64,
}

/// What a process said before it was killed.
#[derive(Default)]
struct Said {
    open: bool,
    last: u64,
    checkpoints: u64,
    folds: u64,
}

#[test]
fn a_killed_process_loses_nothing_acknowledged_and_tears_nothing() {
    let seed = seed();
    let _tell = SeedOnFailure(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    let kills = std::env::var("STREWN_KILLS").map_or(KILLS, |n| n.parse().expect("STREWN_KILLS is a number"));
    let dir = tempfile::tempdir().unwrap();
    let victim = |tracker| {
        let path = dir.path().join(format!("{tracker}.heap"));
        Victim { tracker, path, kills: 0, kills_before_open: 0, acknowledged: 0, checkpoints: 0, folds: 0 }
    };
    let mut victims: Vec<Victim> = trackers().into_iter().map(victim).collect();
    for kill in 0..kills {
        let i = kill % victims.len();
        victims[i].round(&mut rng);
    }
    say(&format!("crash_kill: seed {seed}, {kills} kills"));
    for victim in &victims {
        let Victim { tracker, kills, kills_before_open, checkpoints, acknowledged, folds, .. } = victim;
        say(&format!(
            "  {tracker}: {kills} kills ({kills_before_open} before the heap was open), {checkpoints} checkpoints acknowledged, \
             last generation {acknowledged}, at least {folds} folds"
        ));
        // On a slow disk little fits into a life, but not nothing.
        if *kills >= 20 {
            assert!(*checkpoints >= *kills as u64 / 4 && *folds >= 3, "{tracker}: too little happened");
        }
    }
}

impl Victim {
    fn round(&mut self, rng: &mut SmallRng) {
        let mut command = Command::new(WORKER);
        command.arg(&self.path).arg(self.tracker.to_string()).arg(rng.random::<u64>().to_string());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let early = rng.random_range(0..5) == 0;
        let opened = if early {
            std::thread::sleep(Duration::from_micros(rng.random_range(0..12_000)));
            None
        } else {
            let line = lines.recv_timeout(Duration::from_secs(20));
            std::thread::sleep(Duration::from_micros(rng.random_range(1_000..60_000)));
            Some(line)
        };
        self.kill(child);
        if let Some(line) = &opened {
            assert_eq!(line.as_deref(), Ok("open"), "{}: the child did not open the heap in time", self.tracker);
        }
        let mut said = Said::default();
        opened.into_iter().flatten().chain(lines.iter()).for_each(|line| said.hear(&line));
        self.kills += 1;
        self.kills_before_open += usize::from(!said.open);
        self.checkpoints += said.checkpoints;
        self.folds += said.folds;
        self.acknowledged = self.acknowledged.max(said.last);
        self.acknowledged = self.look(rng.random_range(0..10) == 0);
    }

    fn kill(&self, mut child: Child) {
        let already_ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!already_ended, "{}: the child ended by itself: {}", self.tracker, describe(&output));
    }

    /// Opens the heap, checks everything, and returns the generation that it is at.
    fn look(&self, close: bool) -> u64 {
        let context = format!("{} heap after {} kills", self.tracker, self.kills);
        let heap = match Heap::options().tracker(self.tracker).open(&self.path) {
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
            ["durable", generation, folds] => {
                self.last = self.last.max(generation.parse().unwrap());
                self.folds = self.folds.max(folds.parse().unwrap());
                self.checkpoints += 1;
            }
            _ => panic!("the child said {line:?}"),
        }
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
