//! Flipped bits and truncations, everywhere.

use crate::{CHILD, make_specimen, refused};
use std::process::{Command, Stdio};
use strewn::ErrorKind;
use strewn_tests::files::{Snapshot, files_under};
use strewn_tests::process::{alone, describe, fast_dir, say};
use strewn_tests::specimen;
use strewn_tests::trackers::any_tracker;

const SHARDS: u64 = 2;

/// In processes of their own, so that a crash is seen for what it is.
/// One in `sample` damages is tried.
fn damage_everything(what: &str, log_bytes: u64, steps: u64, close: bool, sample: u64) {
    let tracker = any_tracker();
    let dir = fast_dir();
    let original = dir.path().join("original.heap");
    make_specimen(&original, tracker, log_bytes, steps, close);
    let snapshot = Snapshot::take(&original);
    let shards = (0..SHARDS).map(|shard| {
        let copy = dir.path().join(format!("copy-{shard}.heap"));
        snapshot.restore(&copy);
        let mut command = Command::new(CHILD);
        command.arg("damage").arg(&copy).arg(tracker.to_string());
        command.args([steps, shard, SHARDS * sample].map(|number| number.to_string()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for shard in shards.collect::<Vec<_>>() {
        let output = shard.wait_with_output().unwrap();
        assert!(output.status.success(), "{what}: {}", describe(&output));
        say(&format!("hostile: {what}: {}", String::from_utf8_lossy(&output.stdout).trim_end()));
    }
    assert_eq!(specimen::open_and_verify(&original, tracker), Ok(steps));
}

#[test]
fn damage_to_a_closed_heap_is_found_or_harmless() {
    let _alone = alone();
    damage_everything("closed heap", 4096, 3, true, 1);
}

/// The state is in the log.
#[test]
fn damage_to_a_killed_heap_is_found_or_harmless() {
    let _alone = alone();
    damage_everything("killed heap, not folded", 1 << 20, 3, false, 1);
}

/// The state is in image and log, and the log holds much that is not needed any more.
#[test]
fn damage_to_a_killed_and_folded_heap_is_found_or_harmless() {
    let _alone = alone();
    damage_everything("killed heap, folded", 8192, 4, false, 3);
}

#[test]
fn a_missing_file_is_named() {
    let _alone = alone();
    let tracker = any_tracker();
    let dir = fast_dir();
    let path = dir.path().join("missing.heap");
    make_specimen(&path, tracker, 4096, 2, true);
    let pristine = Snapshot::take(&path);
    for file in files_under(&path) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::remove_file(&file).unwrap();
        match name.as_str() {
            // Made anew.
            "lock" | "acked" => assert_eq!(specimen::open_and_verify(&path, tracker), Ok(2), "without {name}"),
            "superblock" => drop(refused(&path, tracker, ErrorKind::NotAHeap, &[&name])),
            _ => drop(refused(&path, tracker, ErrorKind::Corrupt, &[&name, "missing"])),
        }
        pristine.restore(&path);
    }
    assert_eq!(specimen::open_and_verify(&path, tracker), Ok(2));
}
