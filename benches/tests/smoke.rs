//! Runs every scenario very small, so that none of them rots, and checks what tools rely on. The figures mean nothing at this size.

use std::process::{Command, Output};

fn benches(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strewn-benches"));
    command.args(arguments).output().expect("the program starts")
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

/// The headlines promised in the README, by scenario.
const HEADLINES: [(&str, &[&str]); 8] = [
    ("first-write", &["first-write.async_speedup"]),
    ("checkpoint-bytes", &["checkpoint-bytes.amplification_64b_1pct", "checkpoint-bytes.time_vs_page_64b_1pct"]),
    ("pause", &["pause.p50_us_10k_of_1m"]),
    ("pause-scale", &["pause-scale.growth_1e4_1e7", "pause-scale.growth_scattered", "pause-scale.growth_anywhere"]),
    ("alloc", &["alloc.vs_malloc_64b"]),
    ("footprint", &["footprint.vmas_64b_1m", "footprint.metadata_pct_64b"]),
    ("read", &["read.dense_vs_box_random", "read.lane_vs_box_random"]),
    (
        "ladder",
        &["ladder.birth_speedup", "ladder.clean_scan_speedup", "ladder.worst_vs_best_fixed", "ladder.worst_vs_page"],
    ),
];

fn headline_names(stdout: &str, count: usize) -> Vec<String> {
    let lines: Vec<_> = stdout.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    last.iter()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let &["headline", name, value, _unit] = words.as_slice() else { panic!("not a headline: {line}") };
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            name.to_owned()
        })
        .collect()
}

#[test]
fn every_scenario_ends_with_its_headlines() {
    for (scenario, headlines) in HEADLINES {
        let output = benches(&[scenario, "--smoke"]);
        assert!(output.status.success(), "{scenario}: {}{}", text(&output.stdout), text(&output.stderr));
        let stdout = text(&output.stdout);
        assert_eq!(headline_names(&stdout, headlines.len()), headlines, "{stdout}");
    }
}

#[test]
fn json_comes_before_the_headlines_and_heaps_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = benches(&["read", "--smoke", "--json", "--dir", dir.path().to_str().expect("UTF-8")]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    let end = stdout.find("\nheadline ").expect("headlines after the document");
    let document: serde_json::Value = serde_json::from_str(&stdout[..end]).expect("a JSON document");
    assert_eq!(document["scenarios"][0]["scenario"], "read");
    assert!(document["machine"]["kernel"].is_string());
    assert_eq!(dir.path().read_dir().expect("it is still there").count(), 0);
}

#[test]
fn an_unknown_scenario_is_an_error_that_lists_the_known_ones() {
    let output = benches(&["no-such-scenario"]);
    assert!(!output.status.success());
    for (scenario, _) in HEADLINES {
        assert!(text(&output.stdout).contains(scenario));
    }
}
