//! A heap that an older program wrote is brought to newer types by a newer one, which is killed on the way. After each kill the heap is either the older program's, which
//! reads all of it, or the newer one's; never a mixture.
//!
//! The two are separate programs, with types of the same names: `migrate/old.rs`, `migrate/new.rs`. The newer one goes two versions at once, through types that contain others
//! that changed as well.
//!
//! `STREWN_KILLS` overrides how many kills at random times, `STREWN_CRASH=long` makes them many, `STREWN_SEED` replays the choices (not the scheduling of threads).

use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strewn::TrackerKind;
use strewn_tests::files::Snapshot;
use strewn_tests::golden::from_text;
use strewn_tests::process::{SeedOnFailure, fast_dir, is_long, say, seed, skip, stdout_of};
use strewn_tests::trackers::{any_tracker, trackers};

const OLD: &str = env!("CARGO_BIN_EXE_strewn-old-child");
const NEW: &str = env!("CARGO_BIN_EXE_strewn-new-child");
const ITEMS: usize = 40;
/// So that migrating them takes about as long as starting a process.
const ITEMS_MANY: usize = 4000;
const KILLS: usize = 30;
const KILLS_LONG: usize = 1000;

/// A heap that the older program made, to be put back as often as need be.
struct Fixture {
    dir: tempfile::TempDir,
    tracker: TrackerKind,
    made: Snapshot,
    items: usize,
}

impl Fixture {
    fn new(tracker: TrackerKind, items: usize) -> Self {
        let dir = fast_dir();
        let path = dir.path().join("stock.heap");
        stdout_of(Command::new(OLD).arg("make").arg(&path).arg(tracker.to_string()).arg(items.to_string()));
        Self { made: Snapshot::take(&path), dir, tracker, items }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("stock.heap")
    }

    fn restore(&self) {
        self.made.restore(&self.path());
    }

    fn new_command(&self, stop: &str) -> Command {
        let mut command = Command::new(NEW);
        command.arg(self.path()).arg(self.tracker.to_string()).arg(stop);
        command
    }

    /// What the newer program says, in words.
    fn newer(&self, stop: &str) -> Vec<String> {
        stdout_of(&mut self.new_command(stop)).lines().map(str::to_owned).collect()
    }

    /// Starts the newer program, reads what it says up to `line`, and kills it.
    fn kill_at(&self, stop: &str, line: &str) {
        let mut child = self.new_command(stop).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let said: Vec<String> = stdout.lines().map(Result::unwrap).take_while(|said| said != line).collect();
        end(&mut child);
        assert!(!said.iter().any(|line| line.starts_with("new") || line.starts_with("WRONG")), "{stop}: {said:?}");
    }

    /// Whether the heap is still the older program's. Then it has everything.
    fn is_old(&self) -> bool {
        let mut read = Command::new(OLD);
        let said = stdout_of(read.arg("read").arg(self.path()).arg(self.tracker.to_string()));
        if said.starts_with("refused RootType") {
            assert!(
                said.contains("`stock`") && said.contains("in Item, the version is 3, not the version is 1"),
                "{said}"
            );
            return false;
        }
        assert_eq!(said, format!("old {}\n", self.items));
        true
    }

    /// That the heap is what the newer program makes of it, in `steps` steps.
    fn assert_becomes_new(&self, steps: u64) {
        let (migrated, new) = (format!("migrated {steps}"), format!("new {}", self.items));
        assert_eq!(self.newer("-"), ["opened", &migrated, "durable", &new], "{}", self.tracker);
    }
}

/// Kills the child and waits until it is gone.
fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All that there is to see of a heap that is the older program's.
fn assert_old_and_then_new(fixture: &Fixture, what: &str) {
    assert!(fixture.is_old(), "{what}");
    fixture.assert_becomes_new(2);
    assert!(!fixture.is_old(), "{what}");
    fixture.assert_becomes_new(0);
}

#[test]
fn killed_at_any_point_of_a_migration_a_heap_is_the_older_one() {
    for tracker in trackers() {
        let fixture = Fixture::new(tracker, ITEMS);
        assert!(fixture.is_old());
        for stop in ["park:1:0", "park:1:20", "park:1:39", "park:2:0", "park:2:39", "park:migrated"] {
            fixture.restore();
            fixture.kill_at(stop, "at");
            assert_old_and_then_new(&fixture, &format!("{tracker}, killed at {stop}"));
        }
        fixture.restore();
        fixture.kill_at("park:durable", "at");
        assert!(!fixture.is_old(), "{tracker}: what was durable is lost");
        fixture.assert_becomes_new(0);
    }
}

#[test]
fn a_migration_that_fails_changes_nothing_on_disk() {
    for tracker in trackers() {
        let fixture = Fixture::new(tracker, ITEMS);
        for place in ["1:0", "1:20", "2:0", "2:39"] {
            let failed = fixture.newer(&format!("fail:{place}"));
            assert!(failed[1].starts_with("refused InvalidArgument "), "{failed:?}");
            assert!(failed[1].contains("root `stock`: migration") && failed[1].contains(place), "{failed:?}");
            assert_eq!(failed[2..], ["SectionPanicked"]);
            assert!(fixture.is_old(), "{tracker}, failed at {place}");
            assert_eq!(fixture.newer(&format!("panic:{place}"))[1..], ["panicked", "SectionPanicked"]);
            assert!(fixture.is_old(), "{tracker}, panicked at {place}");
        }
        assert_old_and_then_new(&fixture, "after failures");
    }
}

#[test]
fn killed_at_random_times_a_heap_is_the_older_or_the_newer_one() {
    let kills = match std::env::var("STREWN_KILLS") {
        Ok(kills) => kills.parse().expect("STREWN_KILLS is a number"),
        Err(_) if is_long() => KILLS_LONG,
        Err(_) => KILLS,
    };
    let seed = seed();
    let _seed = SeedOnFailure(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    let fixture = Fixture::new(any_tracker(), ITEMS_MANY);
    let started = Instant::now();
    fixture.assert_becomes_new(2);
    let slowest = started.elapsed() * 5 / 4;
    let (mut old, mut new, mut acknowledged) = (0, 0, 0);
    fixture.restore();
    for _ in 0..kills {
        let mut child = fixture.new_command("-").stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(rng.random_range(0..slowest.as_micros() as u64)));
        end(&mut child);
        let said = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(!said.contains("WRONG"), "{said}");
        let durable = said.lines().any(|line| line == "durable");
        if fixture.is_old() {
            assert!(!durable, "what was durable is lost");
            old += 1;
            continue;
        }
        assert!(said.lines().any(|line| line == "migrated 2"), "durable before it was migrated: {said}");
        fixture.assert_becomes_new(0);
        (new, acknowledged) = (new + 1, acknowledged + u32::from(durable));
        fixture.restore();
    }
    say(&format!(
        "migrate: {kills} kills: {old} times the older heap, {new} times the newer, {acknowledged} of them acknowledged"
    ));
}

/// A heap that the older program of an earlier build wrote. (To write it again:
/// `cargo run -q -p strewn-tests --bin strewn-old-child -- golden /dev/shm/stock.heap async 40 > tests/golden/older-types/stock.txt`.)
#[test]
fn a_heap_of_an_earlier_build_is_migrated() {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/older-types/stock.txt");
    let made = from_text(&std::fs::read_to_string(text).unwrap()).unwrap();
    let trackers: Vec<_> = trackers().into_iter().filter(|tracker| *tracker != TrackerKind::Page).collect();
    if trackers.is_empty() {
        skip("a heap of an earlier build with older types: no tracker here can serve it");
    }
    for tracker in trackers {
        let fixture = Fixture { dir: fast_dir(), tracker, made: made.clone(), items: ITEMS };
        fixture.restore();
        assert_old_and_then_new(&fixture, "the heap of an earlier build");
        fixture.restore();
        fixture.kill_at("park:2:20", "at");
        assert_old_and_then_new(&fixture, "the heap of an earlier build, after a kill");
    }
}
