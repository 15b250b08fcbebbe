//! Nothing fails: appends, folds, reopening, closing.

use strewn::ErrorKind;
use strewn::testing::{Epoch, LogStore, RecordBuilder};
use strewn_tests::sim::{Coins, SimDisk};
use strewn_tests::store_model::*;

#[test]
fn any_history_reopens_as_the_model() {
    let (mut suspects, mut unchanged) = (0, 0);
    for seed in 0..60 {
        let (mut coins, mut model, mut epoch) = (Coins::new(seed), Model::default(), 0);
        let disk = SimDisk::new();
        let mut store = create(&disk, &OPTIONS).unwrap();
        for step in 0..60 {
            if coins.below(6) > 0 {
                epoch += 1 + coins.below(3);
                store.append(Epoch(epoch), &mut model.change(&mut coins)).unwrap();
                continue;
            }
            (suspects, unchanged) = (suspects + store.stats().suspects, unchanged + store.stats().unchanged);
            end(store, &mut coins);
            let (reopened, at, found) = open(&disk).unwrap();
            assert_eq!((at.0, &found), (epoch, &model), "seed {seed} step {step}");
            store = reopened;
        }
    }
    assert!(unchanged > 0 && unchanged < suspects, "{unchanged} of {suspects} suspects had not changed");
    println!("{unchanged} of {suspects} suspects had not changed");
}

#[test]
fn the_background_fold_bounds_the_log_and_loses_nothing() {
    let disk = SimDisk::with_background_folds();
    let (mut coins, mut model) = (Coins::new(3), Model::default());
    let mut store = LogStore::create(&disk.place(), path(), &OPTIONS).unwrap();
    let mut largest = 0;
    for epoch in 1..=300 {
        let mut record = model.change(&mut coins);
        largest = largest.max(record.payload_len() + 64 + 8);
        let appended = store.append(Epoch(epoch), &mut record).unwrap();
        assert!(appended.log_bytes as usize >= record.payload_len() + 64);
    }
    assert!(store.stats().folds > 10, "{:?}", store.stats());
    let logs: usize =
        disk.files_in(path()).iter().filter(|(name, _)| name.starts_with("log")).map(|(_, b)| b.len()).sum();
    assert!(logs < 3 * 3000 + 3 * largest + (17 << 20), "{logs}");
    store.close().unwrap();
    let logs: usize =
        disk.files_in(path()).iter().filter(|(name, _)| name.starts_with("log")).map(|(_, b)| b.len()).sum();
    assert_eq!(logs, 64);
    assert_eq!(open(&disk).unwrap().2, model);
}

#[test]
fn the_same_operations_leave_the_same_bytes() {
    let run = || {
        let disk = SimDisk::new();
        let (mut coins, mut model, mut store) = (Coins::new(11), Model::default(), create(&disk, &OPTIONS).unwrap());
        for epoch in 1..60 {
            store.append(Epoch(epoch), &mut model.change(&mut coins)).unwrap();
        }
        drop(store);
        let killed = disk.files_in(path());
        open(&disk).unwrap().0.close().unwrap();
        (killed, disk.files_in(path()))
    };
    assert!(run() == run());
}

#[test]
fn a_fresh_store_is_empty_and_takes_epochs_in_order() {
    let disk = SimDisk::new();
    drop(create(&disk, &OPTIONS).unwrap());
    let (mut store, epoch, model) = open(&disk).unwrap();
    assert_eq!((epoch, model), (Epoch(0), Model::default()));
    let empty = || RecordBuilder::new(Vec::new()).finish();
    store.append(Epoch(4), &mut empty()).unwrap();
    assert_eq!(store.append(Epoch(4), &mut empty()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(open(&disk).err().unwrap().kind(), ErrorKind::Locked);
    drop(store);
    let (mut store, recovered) = LogStore::open(&disk.place(), path()).unwrap();
    assert_eq!((recovered.epoch, recovered.replayed_records), (Epoch(4), 1));
    assert_eq!(store.append(Epoch(5), &mut empty()).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
