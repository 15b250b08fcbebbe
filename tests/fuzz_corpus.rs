//! The committed corpora of the fuzz targets, replayed on stable: what was found once stays found, and the targets do not rot.

use std::path::Path;
use std::time::Instant;
use strewn_tests::fuzz::budget::{Counting, is_counting, within};
use strewn_tests::fuzz::{TARGETS, examine, image, log, seeds};
use strewn_tests::process::{alone, say};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Each input of each corpus; a directory or an input that `STREWN_FUZZ_INPUT` names (TARGET:PATH) instead.
#[test]
fn every_input_of_the_corpora() {
    let _alone = alone();
    assert!(is_counting());
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, run) in TARGETS {
        let mut inputs: Vec<_> = std::fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= seeds(name).len(), "{name}: {} inputs", inputs.len());
        let start = Instant::now();
        for input in &inputs {
            let bytes = std::fs::read(input).unwrap();
            let outcome = std::panic::catch_unwind(|| run(&bytes));
            assert!(outcome.is_ok(), "{name}: {}", input.display());
        }
        say(&format!("fuzz_corpus: {name}: {} inputs in {:.1?}", inputs.len(), start.elapsed()));
    }
}

/// Else fuzzing would only ever look at refusals.
#[test]
fn seeds_get_behind_the_checksums() {
    let _alone = alone();
    let opened = |files: fn(&[u8]) -> strewn_tests::fuzz::memory::Files, target| {
        seeds(target).iter().filter(|(_, seed)| examine::examine(&files(seed))).count()
    };
    assert_eq!(opened(log::files, "log"), seeds("log").len());
    // The golden heaps as they are, and some with edits.
    assert!(opened(image::files, "image") > 5, "{} of {}", opened(image::files, "image"), seeds("image").len());
}

#[test]
#[should_panic(expected = "bytes of memory")]
fn canary_memory_that_is_not_justified_is_noticed() {
    let _alone = alone();
    within(1 << 20, std::time::Duration::from_secs(10), || drop(std::hint::black_box(vec![1u8; 2 << 20])));
}
