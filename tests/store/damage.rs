//! Damaged files: every byte flipped, every file cut short, every file missing. The answer is an error or the truth,
//! and the files stay as they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use strewn::ErrorKind;
use strewn::testing::Epoch;
use strewn::testing::format::{FORMAT_VERSION, SUPERBLOCK_BYTES, SUPERBLOCK_CRC_AT, names};
use strewn_tests::sim::{Coins, SimDisk, Volume};
use strewn_tests::store_model::*;

type Files = BTreeMap<String, Vec<u8>>;

fn disk_with(files: &Files) -> Arc<SimDisk> {
    SimDisk::of(Volume::with_files(path(), files))
}

/// A small heap with two zones and a folded image: its files, and the model after each epoch. The first seed that
/// gives one small enough to flip each of its bytes.
fn small_heap(closed: bool) -> (Files, Vec<Model>) {
    let small = |(files, models): &(Files, Vec<Model>)| {
        let folded = files.iter().filter(|(name, bytes)| name.starts_with("zone") && !bytes.is_empty()).count();
        folded >= 1 && models[models.len() - 1].zones.len() >= 2 && files.values().map(Vec::len).sum::<usize>() < 36_000
    };
    (0..5000).map(|seed| heap(closed, seed)).find(small).expect("a seed with a small heap")
}

fn heap(closed: bool, seed: u64) -> (Files, Vec<Model>) {
    let disk = SimDisk::new();
    let (mut coins, mut store) = (Coins::new(seed), create(&disk, &OPTIONS).unwrap());
    let mut models = vec![Model::default()];
    for epoch in 1..=4 {
        let mut model = models[models.len() - 1].clone();
        store.append(Epoch(epoch), &mut model.change(&mut coins)).unwrap();
        models.push(model);
    }
    if closed {
        store.close().unwrap();
    } else {
        drop(store)
    }
    (disk.files_in(path()), models)
}

/// Opens damaged files: an error, or the last model's contents (or, if `prefix`, those of an earlier epoch).
fn check(files: Files, models: &[Model], prefix: bool, what: impl Fn() -> String) -> bool {
    let disk = disk_with(&files.clone());
    match open(&disk) {
        Ok((_, epoch, found)) => {
            let last = epoch.0 as usize + 1 == models.len();
            assert!(last || prefix, "{}: epoch {epoch} found", what());
            assert!(found == models[epoch.0 as usize], "{}: other contents", what());
            false
        }
        Err(error) => {
            let expected = [ErrorKind::Corrupt, ErrorKind::NotAHeap, ErrorKind::UnsupportedVersion];
            assert!(expected.contains(&error.kind()), "{}: {error:?}", what());
            let mut after = disk.files_in(path());
            after.retain(|name, _| files.contains_key(name));
            assert!(after == files, "{}: files were changed", what());
            true
        }
    }
}

fn flip_every_byte(files: &Files, models: &[Model], prefix: bool) {
    let mut caught = 0;
    for (name, bytes) in files {
        for at in 0..bytes.len() {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            caught += u64::from(check(damaged, models, prefix, || format!("{name} flipped at {at:#x}")));
        }
    }
    assert!(caught > 1000, "only {caught} flips were caught");
}

fn cut_every_file(files: &Files, models: &[Model], prefix: bool) {
    for (name, bytes) in files {
        for len in 0..bytes.len() {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap().truncate(len);
            check(damaged, models, prefix, || format!("{name} cut to {len:#x}"));
        }
    }
}

#[test]
fn a_closed_heap_with_any_byte_flipped() {
    let (files, models) = small_heap(true);
    flip_every_byte(&files, &models, false);
}

#[test]
fn a_killed_heap_with_any_byte_flipped() {
    let (files, models) = small_heap(false);
    flip_every_byte(&files, &models, false);
}

#[test]
fn a_heap_without_acked_with_any_byte_flipped() {
    let (mut files, models) = small_heap(false);
    files.remove(names::ACKED);
    flip_every_byte(&files, &models, true);
}

#[test]
fn any_file_cut_short() {
    let (files, models) = small_heap(true);
    cut_every_file(&files, &models, false);
    let (mut files, models) = small_heap(false);
    cut_every_file(&files, &models, false);
    files.remove(names::ACKED);
    cut_every_file(&files, &models, true);
}

#[test]
fn a_missing_file_is_named() {
    let (files, _) = small_heap(false);
    for name in files.keys().filter(|name| *name != names::ACKED) {
        let mut damaged = files.clone();
        damaged.remove(name);
        let error = open(&disk_with(&damaged)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(name.as_str()), "{error}");
    }
}

#[test]
fn newer_versions_and_unknown_features_are_refused_by_name() {
    let (files, _) = small_heap(true);
    for (at, text) in [(8, "version"), (12, "feature")] {
        let mut newer = files.clone();
        let superblock = newer.get_mut(names::SUPERBLOCK).unwrap();
        let copy = &mut superblock[..SUPERBLOCK_BYTES];
        copy[at] = 9;
        let crc = crc32c::crc32c(&copy[..SUPERBLOCK_CRC_AT]);
        copy[SUPERBLOCK_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let error = open(&disk_with(&newer)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
        let text = [text, "9", &FORMAT_VERSION.to_string()].map(str::to_owned);
        assert!(text[..2].iter().all(|part| error.to_string().contains(part.as_str())), "{error}");
    }
}

#[test]
fn a_superblock_copy_torn_anywhere_does_not_matter() {
    let (files, models) = small_heap(true);
    for copy in [0, 1] {
        for at in (0..SUPERBLOCK_BYTES).step_by(64) {
            let mut torn = files.clone();
            let superblock = torn.get_mut(names::SUPERBLOCK).unwrap();
            superblock[copy * SUPERBLOCK_BYTES + at..(copy + 1) * SUPERBLOCK_BYTES].fill(0x5A);
            assert!(!check(torn, &models, false, || format!("copy {copy} torn at {at}")));
        }
    }
    let mut gone = files.clone();
    gone.get_mut(names::SUPERBLOCK).unwrap().fill(0);
    let error = open(&disk_with(&gone)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAHeap);
}
