//! The same store on the operating system's files.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use strewn::testing::*;
use strewn::{Error, ErrorKind};
use strewn_tests::files::Snapshot;
use strewn_tests::process::alone;
use strewn_tests::sim::Coins;
use strewn_tests::store_model::{Model, OPTIONS, load};
use strewn_tests::trackers::{any_tracker, options};

#[test]
fn a_heap_lives_in_a_directory_of_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.heap");
    let (mut coins, mut model) = (Coins::new(2), Model::default());
    let mut store = LogStore::create(default_place(), &path, &OPTIONS).unwrap();
    for epoch in 1..=50 {
        store.append(Epoch(epoch), &mut model.change(&mut coins)).unwrap();
    }
    assert_eq!(LogStore::open(default_place(), &path).unwrap_err().kind(), ErrorKind::Locked);
    drop(store);
    let (mut store, recovered) = LogStore::open(default_place(), &path).unwrap();
    assert_eq!((recovered.epoch, recovered.heap_id, recovered.addressing), (Epoch(50), [7; 16], Addressing::Lanes));
    assert_eq!(load(&mut store, &recovered).unwrap(), model);
    store.append(Epoch(51), &mut model.change(&mut coins)).unwrap();
    store.close().unwrap();
    let (mut store, recovered) = LogStore::open(default_place(), &path).unwrap();
    assert_eq!((recovered.epoch, recovered.replayed_records), (Epoch(51), 0));
    assert_eq!(load(&mut store, &recovered).unwrap(), model);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn creation_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b");
    let building = dir.path().join("b.heap.new");
    fs::create_dir(&building).unwrap();
    fs::write(building.join("log-0"), b"left over").unwrap();
    drop(LogStore::create(default_place(), &path, &OPTIONS).unwrap());
    assert!(!building.exists());
    assert_eq!(LogStore::create(default_place(), &path, &OPTIONS).unwrap_err().kind(), ErrorKind::AlreadyExists);
    // A stranger's file in the way is not removed.
    fs::create_dir(&building).unwrap();
    fs::write(building.join("thesis.txt"), b"mine").unwrap();
    let error = LogStore::create(default_place(), &dir.path().join("c"), &OPTIONS).map(drop);
    error.unwrap();
    fs::rename(&path, dir.path().join("d")).unwrap();
    assert!(LogStore::create(default_place(), &path, &OPTIONS).is_err());
    assert!(building.join("thesis.txt").exists());
    drop(LogStore::open(default_place(), &dir.path().join("d")).unwrap());
}

#[test]
fn what_is_withdrawn_can_be_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.heap");
    drop(LogStore::create(default_place(), &path, &OPTIONS).unwrap());
    let withdraw = || default_place().open(&path).unwrap().withdraw(Error::new(ErrorKind::Io, "why")).to_string();
    assert_eq!((withdraw().as_str(), path.exists()), ("why", false));
    let store = LogStore::create(default_place(), &path, &OPTIONS).unwrap();
    drop(store);
    // Something is where it would go: it stays, and the error says so.
    fs::create_dir(dir.path().join("e.heap.new")).unwrap();
    let text = withdraw();
    assert!(text.contains("e.heap") && text.contains("stays") && text.ends_with("why"), "{text}");
    assert!(path.exists());
    drop(LogStore::open(default_place(), &path).unwrap());
}

#[test]
fn a_heap_with_a_root_to_nowhere_is_left_as_it_was() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.heap");
    let mut store = LogStore::create(default_place(), &path, &OPTIONS).unwrap();
    let mut builder = RecordBuilder::new(Vec::new());
    let root = RootEntry { name: "lost".into(), type_name: "T".into(), size: 8, align: 8, addr: 0x1234_5678 };
    builder.roots(&[root]);
    store.append(Epoch(1), &mut builder.finish()).unwrap();
    drop(store);
    let before = Snapshot::take(&path);
    let options = options(any_tracker(), 1 << 20);
    for error in [options.open(&path).map(drop).unwrap_err(), strewn::check(&path).map(drop).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("root `lost`") && error.to_string().contains("0x12345678"), "{error}");
    }
    assert!(Snapshot::take(&path) == before);
}

#[test]
fn what_is_not_a_heap_is_called_by_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let kind = |path: &std::path::Path| LogStore::open(default_place(), path).map(drop).unwrap_err().kind();
    assert_eq!(kind(&dir.path().join("nowhere")), ErrorKind::NotFound);
    assert_eq!(kind(dir.path()), ErrorKind::NotAHeap);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "opening left something behind");
    fs::write(dir.path().join("file"), b"text").unwrap();
    assert_eq!(kind(&dir.path().join("file")), ErrorKind::NotAHeap);
    fs::write(dir.path().join("superblock"), b"text").unwrap();
    assert_eq!(kind(dir.path()), ErrorKind::NotAHeap);
    let options = StoreOptions { log_bytes: 1, ..OPTIONS };
    let error = LogStore::create(default_place(), &dir.path().join("e"), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn freed_frames_and_pages_give_their_space_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let mut store = LogStore::create(default_place(), &path, &OPTIONS).unwrap();
    let zone = ZoneIndex(0);
    let mut builder = RecordBuilder::new(Vec::new());
    builder.zone(zone, ZoneNumber(0x40), ZoneKind::Runs);
    builder.run_allocated(zone, FrameIndex(0), 64);
    let bytes = vec![1; 64 * PAGE];
    // SAFETY: `bytes` has 64 pages and is not written.
    unsafe { builder.pages(zone, FrameIndex(0), 64, bytes.as_ptr()) };
    store.append(Epoch(1), &mut builder.finish()).unwrap();
    store.close().unwrap();
    let blocks = || fs::metadata(path.join("zone-000")).unwrap().blocks();
    assert!(blocks() >= 64 * 8);
    let (mut store, _) = LogStore::open(default_place(), &path).unwrap();
    store.load(&mut |_, _, _| Ok(())).unwrap();
    let mut builder = RecordBuilder::new(Vec::new());
    builder.run_freed(zone, FrameIndex(0), 64);
    store.append(Epoch(2), &mut builder.finish()).unwrap();
    store.close().unwrap();
    assert!(blocks() < 8, "{}", blocks());
}
