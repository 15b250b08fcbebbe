//! Heaps that earlier builds wrote, a folder for each set of them (`SETS`). Each later build opens them and goes on with them. The newest set it also makes again: the same bytes
//! from the same operations.
//!
//! They are opened in processes of their own: a heap is opened where it was created, and there nothing may be in the way.

use std::path::{Path, PathBuf};
use std::process::Command;
use strewn::{ErrorKind, Heap, TrackerKind};
use strewn_tests::files::Snapshot;
use strewn_tests::golden::{NAMES, from_text, tracker_of};
use strewn_tests::process::{fast_dir, skip, stdout_of};
use strewn_tests::trackers::trackers;

const CHILD: &str = env!("CARGO_BIN_EXE_strewn-test-child");
/// The sets, oldest first: the format version, and what is new about it.
///
/// - `v1`: a root's type is known by its name in the program, and an empty `PVec` holds an address of zero.
/// - `v1-described`: a root's type is known by its description, and an empty `PVec` holds the tag of its heap.
const SETS: [(u32, &str); 2] = [(1, "v1"), (1, "v1-described")];
const VERSION_AT: usize = 8;
const FEATURES_AT: usize = 12;
const SUPERBLOCK_BYTES: usize = 4096;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A heap of an earlier build.
struct Golden {
    set: &'static str,
    name: &'static str,
    text: String,
}

impl Golden {
    /// The step of the specimen that it holds, as its first line says.
    fn step(&self) -> u64 {
        let line = self.text.lines().next().unwrap_or_default();
        line.strip_prefix("# step ").and_then(|step| step.parse().ok()).unwrap_or_else(|| panic!("{line}: no step"))
    }

    fn files(&self) -> Snapshot {
        from_text(&self.text).unwrap_or_else(|e| panic!("{}/{}: {e}", self.set, self.name))
    }

    /// The trackers of this machine that can serve it.
    fn trackers(&self) -> Vec<TrackerKind> {
        let dense = tracker_of(self.name) == TrackerKind::Page;
        trackers().into_iter().filter(|tracker| (*tracker == TrackerKind::Page) == dense).collect()
    }
}

/// The heaps of one set.
fn golden(set: &'static str) -> impl Iterator<Item = Golden> {
    NAMES.into_iter().map(move |name| {
        let path = folder().join(set).join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Golden { set, name, text }
    })
}

fn all() -> impl Iterator<Item = Golden> {
    SETS.into_iter().flat_map(|(_, set)| golden(set))
}

fn child(verb: &str, path: &Path, tracker: TrackerKind) -> String {
    stdout_of(Command::new(CHILD).arg(verb).arg(path).arg(tracker.to_string())).trim_end().to_owned()
}

/// Makes the heap `name` with this build, and returns the text of its files.
fn made(dir: &Path, name: &str) -> String {
    let mut command = Command::new(CHILD);
    command.arg("golden").arg(dir.join(format!("{name}.heap"))).arg(tracker_of(name).to_string()).arg(name);
    stdout_of(&mut command)
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The line without the length of a log file: room is reserved behind the last record in steps of a size that builds may choose.
fn without_reserved_room(line: &str) -> &str {
    if line.starts_with("log-") { line.split(' ').next().expect("a name") } else { line }
}

#[test]
fn heaps_of_every_format_version_open_with_their_contents_and_go_on() {
    for golden in all() {
        let (step, trackers) = (golden.step(), golden.trackers());
        if trackers.is_empty() {
            skip(&format!("golden heap {}/{}: no tracker here can serve it", golden.set, golden.name));
        }
        for tracker in trackers {
            let dir = fast_dir();
            let path = dir.path().join("golden.heap");
            golden.files().restore(&path);
            let what = format!("{}/{} with {tracker}", golden.set, golden.name);
            assert_eq!(child("open", &path, tracker), format!("OK {step}"), "{what}");
            // Once more: the first open has repaired what a crash had left.
            assert_eq!(child("open", &path, tracker), format!("OK {step}"), "{what}, again");
            assert_eq!(child("step", &path, tracker), (step + 1).to_string(), "{what}");
            assert_eq!(child("open", &path, tracker), format!("OK {}", step + 1), "{what}, one step on");
        }
    }
}

#[test]
fn the_same_operations_and_seed_write_the_golden_bytes() {
    let (newest, set) = SETS[SETS.len() - 1];
    for golden in golden(set) {
        if !trackers().contains(&tracker_of(golden.name)) {
            skip(&format!("the bytes of golden heap {}: it is made with another tracker", golden.name));
            continue;
        }
        let dir = fast_dir();
        let text = made(dir.path(), golden.name);
        let superblock = std::fs::read(dir.path().join(format!("{}.heap/superblock", golden.name))).unwrap();
        let writes = number_at(&superblock, VERSION_AT);
        let how = format!(
            "A heap's files must not change without a new format version. If the format changed: increment FORMAT_VERSION (heap/src/durable/format.rs), \
             keep tests/golden/{set} as it is and readable, and write a new set, for each NAME of {NAMES:?} (of page.txt with the tracker page):\n  \
             cargo run -q -p strewn-tests --bin strewn-test-child -- golden /dev/shm/NAME.heap async NAME > tests/golden/SET/NAME.txt\n\
             If the format is what it was, and what is kept in it is written in another way, write a new set and let the version be.\n\
             If files of the old build are as good as ever, and the same operations merely lead to other ones (another allocation policy, say), \
             write them again into tests/golden/{set}, and say so in CHANGELOG.md."
        );
        assert_eq!(writes, newest, "this build writes format version {writes}, and tests/golden has none of it. {how}");
        let mut lines = golden.text.lines().zip(text.lines()).enumerate();
        let different = lines.find(|(_, (old, new))| without_reserved_room(old) != without_reserved_room(new));
        if let Some((line, (old, new))) = different {
            panic!("{}: line {} was\n{old}\nand is now\n{new}\n{how}", golden.name, line + 1);
        }
        assert_eq!(
            golden.text.lines().count(),
            text.lines().count(),
            "{}: one text goes on after the other ended. {how}",
            golden.name
        );
    }
}

#[test]
fn newer_versions_and_unknown_features_are_refused_by_name() {
    for golden in all() {
        for (at, number, words) in [(VERSION_AT, 77, "version 77"), (FEATURES_AT, 0x8000, "flags 0x8000")] {
            let dir = fast_dir();
            let path = dir.path().join("golden.heap");
            golden.files().restore(&path);
            let file = path.join("superblock");
            let mut bytes = std::fs::read(&file).unwrap();
            for copy in bytes.chunks_exact_mut(SUPERBLOCK_BYTES) {
                copy[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
                let (fields, crc) = copy.split_at_mut(SUPERBLOCK_BYTES - 4);
                crc.copy_from_slice(&crc32c::crc32c(fields).to_le_bytes());
            }
            std::fs::write(&file, &bytes).unwrap();
            let before = Snapshot::take(&path);
            let error = Heap::options().open(&path).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
            assert!(error.to_string().contains(words) && error.to_string().contains("superblock"), "{error}");
            let change = before.any_change(&Snapshot::take(&path));
            assert!(change.is_none(), "a refused open changed a file: {change:?}");
        }
    }
}
