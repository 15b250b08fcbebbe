//! The example `codeindex` from the outside: what it prints, and that it finds, forgets and survives.

use assert_cmd::Command;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A source tree, and the heap that its index is in.
struct Fixture {
    dir: TempDir,
}

/// Where cargo put the example: beside the directory of this test.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples").join("codeindex");
    assert!(built.exists(), "{} is not built; run `cargo test -p strewn-examples`", built.display());
    built
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let fixture = Self { dir };
        fixture.write("src/page_table.rs", "fn walk_page_table(table: &PageTable) {} // page page page");
        fixture
            .write("src/page.rs", "struct Page { number: u64 } // of a great many things that make this file longer");
        fixture.write("src/heap.rs", "struct PersistentHeap;");
        fixture.write("logo.bin", "page\0");
        fixture.write("Cargo.toml", "[package]");
        fixture.write("target/debug/page.rs", "page");
        fixture.write(".git/page", "page");
        fixture.write("old.heap/page", "page");
        fixture.write("large.rs", &"page ".repeat(300_000));
        fixture
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("--heap").arg(self.dir.path().join("test.heap")).current_dir(self.dir.path());
        command
    }

    /// Indexes the tree, and returns the lines of the summary.
    fn index(&self) -> String {
        text(&self.command().arg(self.tree()).assert().success().get_output().stdout)
    }

    /// The names of the files found, best first, and the exit code.
    fn query(&self, words: &[&str]) -> (Vec<String>, i32) {
        let output = self.command().arg("query").args(words).output().unwrap();
        let name = |line: &str| Path::new(line).file_name().unwrap().to_string_lossy().into_owned();
        (text(&output.stdout).lines().map(name).collect(), output.status.code().unwrap())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

#[test]
fn what_changed_is_indexed_again_and_nothing_else() {
    let fixture = Fixture::new();
    let summary = fixture.index();
    assert_has(&summary, "4 added, 0 changed, 0 removed, 0 unchanged");
    assert_has(&summary, "1 binary, 1 over 1.00 MiB, 0 unreadable");
    for line in ["files ", "words ", "objects ", "live bytes ", "checkpoints ", "written to disk ", "reopened in "] {
        assert_has(&summary, line);
    }

    assert_has(&fixture.index(), "0 added, 0 changed, 0 removed, 4 unchanged");

    fixture.write("src/page.rs", "struct Frame;");
    fixture.write("src/lane.rs", "struct Lane;");
    fs::remove_file(fixture.tree().join("src/heap.rs")).unwrap();
    let summary = fixture.index();
    assert_has(&summary, "opened");
    assert_has(&summary, "1 added, 1 changed, 1 removed, 2 unchanged");
    assert_eq!(fixture.query(&["page"]).0, ["page_table.rs"]);
    assert_eq!(fixture.query(&["frame"]).0, ["page.rs"]);
    assert_eq!(fixture.query(&["lane"]).0, ["lane.rs"]);
    assert_eq!(fixture.query(&["PersistentHeap"]), (vec![], 1));
}

#[test]
fn a_query_ranks_the_files_that_have_all_words() {
    let fixture = Fixture::new();
    fixture.index();
    assert_eq!(fixture.query(&["page"]), (vec!["page_table.rs".to_string(), "page.rs".to_string()], 0));
    assert_eq!(fixture.query(&["page", "--limit", "1"]).0, ["page_table.rs"]);
    assert_eq!(fixture.query(&["Page", "u64"]).0, ["page.rs"]);
    assert_eq!(fixture.query(&["PageTable"]).0, ["page_table.rs"]);
    assert_eq!(fixture.query(&["persistent"]).0, ["heap.rs"]);
    assert_eq!(fixture.query(&["page", "persistent"]), (vec![], 1));
    assert_eq!(fixture.query(&["nowhere"]), (vec![], 1));
}

#[test]
fn a_query_without_an_index_says_so() {
    let fixture = Fixture::new();
    let assert = fixture.command().args(["query", "page"]).assert().failure();
    assert_has(&text(&assert.get_output().stderr), "no index at");
    assert!(!fixture.dir.path().join("test.heap").exists(), "a query makes no heap");
}

#[test]
fn killed_children_leave_a_checkpoint_behind() {
    let fixture = Fixture::new();
    let assert = fixture.command().args(["crash", "5", "--seed", "1"]).arg(fixture.tree()).assert().success();
    assert_has(&text(&assert.get_output().stdout), "every recovered index equals one that was checkpointed");
    assert!(!fixture.dir.path().join("test.heap").exists(), "the scratch heap is removed");
}

#[test]
fn crash_refuses_a_heap_that_is_in_use_already() {
    let fixture = Fixture::new();
    fixture.index();
    let assert = fixture.command().args(["crash", "1"]).arg(fixture.tree()).assert().failure();
    assert_has(&text(&assert.get_output().stderr), "wants a heap of its own");
    assert_eq!(fixture.query(&["persistent"]).0, ["heap.rs"]);
}

#[test]
fn the_comparison_can_fail() {
    for (doctor, verdict) in [("digests", "TORN"), ("durable", "LOST")] {
        let fixture = Fixture::new();
        let mut command = fixture.command();
        let assert = command.args(["crash", "2", "--doctor", doctor]).arg(fixture.tree()).assert().failure();
        assert_has(&text(&assert.get_output().stderr), verdict);
        assert!(fixture.dir.path().join("test.heap").exists(), "the evidence is kept");
    }
}
