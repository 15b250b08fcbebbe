//! The disk is full: what was asked for fails, what was acknowledged stays, and it goes on once there is space.

use strewn::ErrorKind;
use strewn::testing::Epoch;
use strewn_tests::sim::volume::random_fate;
use strewn_tests::sim::{Coins, Fault, SimDisk};
use strewn_tests::store_model::*;

#[test]
fn a_full_disk_loses_nothing() {
    let mut refused = 0;
    for seed in 0..40 {
        let disk = SimDisk::new();
        let (mut coins, mut model, mut epoch) = (Coins::new(seed), Model::default(), 0);
        let mut store = create(&disk, &OPTIONS).unwrap();
        for step in 0..40 {
            let used = disk.volume().used();
            let space = (coins.below(3) == 0).then(|| used + coins.below(9000));
            disk.set_fault(Fault { space, ..Fault::default() });
            let mut record = model.change(&mut coins);
            if let Err(error) = store.append(Epoch(epoch + 1), &mut record) {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "seed {seed} step {step}: {error}");
                refused += 1;
                if coins.below(2) == 0 {
                    drop(store);
                    let (_, at, _) = open(&SimDisk::of(disk.volume())).unwrap();
                    assert_eq!(at.0, epoch, "seed {seed} step {step}");
                    let _ = open(&disk);
                    disk.set_fault(Fault::default());
                    store = open(&disk).unwrap().0;
                }
                disk.set_fault(Fault::default());
                store.append(Epoch(epoch + 1), &mut record).unwrap();
            }
            epoch += 1;
        }
        drop(store);
        let (store, at, found) =
            open(&SimDisk::of(disk.volume().after_power_cut(&mut random_fate(&mut coins)))).unwrap();
        assert_eq!((at.0, found == model), (epoch, true), "seed {seed}");
        store.close().unwrap();
    }
    assert!(refused > 50, "only {refused} refused");
}

#[test]
fn close_reports_a_fold_without_space_and_the_heap_stays_whole() {
    let disk = SimDisk::new();
    let (mut coins, mut model, mut store) = (Coins::new(5), Model::default(), create(&disk, &OPTIONS).unwrap());
    for epoch in 1..=4 {
        store.append(Epoch(epoch), &mut model.change(&mut coins)).unwrap();
    }
    let used = disk.volume().used();
    disk.set_fault(Fault { space: Some(used + 64), ..Fault::default() });
    let error = store.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.to_string().contains("folding the log"), "{error}");
    disk.set_fault(Fault::default());
    let (store, epoch, found) = open(&disk).unwrap();
    assert_eq!((epoch.0, &found), (4, &model));
    store.close().unwrap();
}
