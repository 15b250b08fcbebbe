//! What nobody may do.

use crate::{CHILD, make_specimen};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use strewn_tests::files::{Snapshot, files_under};
use strewn_tests::process::{alone, is_root, skip, stdout_of};
use strewn_tests::specimen;
use strewn_tests::trackers::any_tracker;

const NOBODY: u32 = 65534;

/// Runs a verb as a user for whom permissions hold: as nobody, or as oneself if one is not root.
fn as_nobody(verb: &str, path: &Path) -> String {
    let mut child = Command::new(CHILD);
    if is_root() {
        child.arg("nobody");
    }
    stdout_of(child.arg(verb).arg(path).arg(any_tracker().to_string()))
}

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives everything under `dir` to the user that `as_nobody` runs as.
fn hand_over(dir: &Path) {
    if is_root() {
        let files = files_under(dir);
        let all = files.iter().flat_map(|file| file.ancestors().take_while(|path| path.starts_with(dir)));
        all.for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
    }
}

fn expect_denied(verb: &str, path: &Path, fact: &str) {
    let said = as_nobody(verb, path);
    assert!(said.starts_with("PermissionDenied") && said.contains(fact), "{verb} {}: {said}", path.display());
}

#[test]
fn without_permission_nothing_is_opened_or_changed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.heap");
    make_specimen(&path, any_tracker(), 4096, 2, true);
    let created = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(created, 0o700, "a heap is its owner's alone");
    mode(dir.path(), 0o755);
    let name = path.display().to_string();
    if is_root() {
        expect_denied("open", &path, &name);
        expect_denied("create", &dir.path().join("new.heap"), "new.heap");
    } else {
        skip("a heap of another user: there is only one without root");
    }
    hand_over(&path);
    assert_eq!(as_nobody("open", &path), "OK 2\n");
    for file in files_under(&path) {
        mode(&file, 0o400);
        let before = Snapshot::take(&path);
        expect_denied("open", &path, &file.display().to_string());
        let change = before.any_change(&Snapshot::take(&path));
        assert!(change.is_none(), "{change:?}");
        mode(&file, 0o600);
    }
    mode(&path, 0);
    expect_denied("open", &path, &name);
    mode(&path, 0o700);
    assert_eq!(as_nobody("open", &path), "OK 2\n");
}

#[test]
fn in_a_read_only_directory_nothing_is_created() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    make_specimen(&inner.join("old.heap"), any_tracker(), 4096, 2, true);
    hand_over(dir.path());
    mode(dir.path(), 0o755);
    mode(&inner, 0o500);
    expect_denied("create", &inner.join("new.heap"), "new.heap");
    // The heap itself is writable, and need not be renamed or removed.
    assert_eq!(as_nobody("open", &inner.join("old.heap")), "OK 2\n");
    mode(&inner.join("old.heap"), 0o500);
    assert_eq!(as_nobody("open", &inner.join("old.heap")), "OK 2\n");
    mode(&inner.join("old.heap"), 0o700);
    mode(&inner, 0o700);
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 1, "something was left behind");
    if is_root() {
        assert_eq!(specimen::open_and_verify(&inner.join("old.heap"), any_tracker()), Ok(2));
    }
}
