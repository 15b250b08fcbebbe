//! The committed corpora of the fuzz targets, replayed on stable: what was found once stays found, and the targets do not rot.

use std::path::Path;
use std::time::Instant;
use strewn_tests::fuzz::budget::{Counting, is_counting, within};
use strewn_tests::fuzz::{TARGETS, examine, image, log, seeds};
use strewn_tests::process::{alone, say};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Each input of each corpus; or the one that `STREWN_FUZZ_INPUT` names, as TARGET:PATH.
#[test]
fn every_input_of_the_corpora() {
    let _alone = alone();
    assert!(is_counting());
    if let Ok(one) = std::env::var("STREWN_FUZZ_INPUT") {
        let (target, path) = one.split_once(':').expect("TARGET:PATH");
        let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
        return run(&std::fs::read(path).unwrap());
    }
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, run) in TARGETS {
        let mut inputs: Vec<_> =
            std::fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
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

/// Appends a number as payloads hold it.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// An item of these bytes and numbers.
fn item(op: u8, numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![op];
    numbers.iter().for_each(|number| varint(&mut out, *number));
    out
}

/// Items split into payloads; each of them starts with `start`.
fn payloads(start: &[u8], items: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut payloads = vec![start.to_vec()];
    for item in items {
        if payloads[payloads.len() - 1].len() + item.len() > 30_000 {
            payloads.push(start.to_vec());
        }
        payloads.last_mut().expect("there is one").extend(item);
    }
    payloads
}

const ZONE: u8 = 0x01;
const SLOTS: u8 = 0x03;
const RUNS: u8 = 0x04;
const RUN_NEW: u8 = 0x10;
const ZEROS: u8 = 0x13;
const PAGES_MAX: u64 = 1 << 27;

/// A run as large as an address space allows took 512 MiB for its checksums, before a byte of it was there.
#[test]
fn the_largest_run_costs_nothing_to_read() {
    let _alone = alone();
    let zone = u64::from(log::base_zones());
    let payload = [item(ZONE, &[zone, 0x60, 0]), item(RUNS, &[zone]), item(RUN_NEW, &[0, PAGES_MAX])].concat();
    assert!(examine::examine(&log::files(&log::input(&[payload]))));
}

/// Each could have tables of megabytes, and each was compared with all others.
#[test]
fn more_zones_than_fit_are_refused() {
    let _alone = alone();
    let zone = u64::from(log::base_zones());
    let zones = |count: u64| {
        let zones = (0..count).map(|i| item(ZONE, &[zone + i, 0x1000 + i, 16]));
        examine::examine(&log::files(&log::input(&payloads(&[], zones))))
    };
    assert!(zones(126 - zone));
    assert!(!zones(127 - zone));
    assert!(!zones(50_000));
}

/// Each of them looked at each run: minutes for a log of 200 KiB.
#[test]
fn zeroing_many_runs_many_times_is_not_quadratic() {
    const RUNS_MADE: u64 = 20_000;
    let _alone = alone();
    let zone = u64::from(log::base_zones());
    let mut all = vec![item(ZONE, &[zone, 0x60, 0])];
    let start = item(RUNS, &[zone]);
    all.extend(payloads(&start, (0..RUNS_MADE).map(|first| item(RUN_NEW, &[first, 1]))));
    all.extend(payloads(&start, (0..RUNS_MADE).map(|_| item(ZEROS, &[0, RUNS_MADE]))));
    assert!(examine::examine(&log::files(&log::input(&all))));
    all.push([start, item(ZEROS, &[1, RUNS_MADE])].concat());
    assert!(!examine::examine(&log::files(&log::input(&all))), "the last page is in no run");
}

/// Frames without contents, as far apart as they can be.
#[test]
fn the_last_frame_of_a_zone_costs_its_bitmap_only() {
    let _alone = alone();
    let zone = u64::from(log::base_zones());
    let payload =
        [item(ZONE, &[zone, 0x60, 16]), item(SLOTS, &[zone, 1]), item(0x80 | 1 << 5, &[(1 << 18) - 1])].concat();
    assert!(examine::examine(&log::files(&log::input(&[payload]))));
}

/// There must be a next generation and a next epoch.
#[test]
fn counts_that_nobody_reaches_are_damage() {
    let _alone = alone();
    // Base 0, all repairs; an edit of 8 bytes (op 2, width 3, value 7) of the superblock's first and second copy.
    for at in [32u16, 48, 56] {
        let mut input = vec![0, 0xFF];
        for at in [at, at + 4096] {
            input.extend([2 | 3 << 3, 0]);
            input.extend(at.to_le_bytes());
            input.push(7);
        }
        assert!(!examine::examine(&image::files(&input)), "superblock, offset {at}");
    }
}

#[test]
#[should_panic(expected = "bytes of memory")]
fn canary_memory_that_is_not_justified_is_noticed() {
    let _alone = alone();
    within(1 << 20, std::time::Duration::from_secs(10), || drop(std::hint::black_box(vec![1u8; 2 << 20])));
}
