//! The power fails, or the process is killed, at every operation in turn; then recovery itself is cut short.

use std::sync::Arc;

use super::model::*;
use crate::base::*;
use crate::durable::mem::{Coins, Faults, MemDisk};
use crate::durable::*;

/// A history: the model after each epoch that was attempted, and the last one that was acknowledged.
#[derive(Clone)]
struct History {
    models: Vec<Model>,
    acked: usize,
}

impl History {
    /// Appends until something fails or `epochs` are there.
    fn run(&mut self, store: &mut LogStore, coins: &mut Coins, epochs: usize) -> Result<()> {
        while self.models.len() <= epochs {
            let mut model = self.models[self.models.len() - 1].clone();
            let mut record = model.change(coins);
            self.models.push(model);
            store.append(Epoch(self.models.len() as u64 - 1), &mut record)?;
            self.acked = self.models.len() - 1;
        }
        Ok(())
    }

    /// Opens `disk`, which must hold one of the states that it may, and goes on from there.
    fn check(&mut self, disk: &Arc<MemDisk>) -> Result<LogStore, String> {
        let (store, epoch, found) = open(disk).map_err(|e| format!("{e:?}"))?;
        let epoch = epoch.0 as usize;
        if !(self.acked..self.models.len()).contains(&epoch) {
            return Err(format!(
                "epoch {epoch} found, {} acknowledged, {} attempted",
                self.acked,
                self.models.len() - 1
            ));
        }
        if found != self.models[epoch] {
            return Err(format!("the contents are not those of epoch {epoch}"));
        }
        self.models.truncate(epoch + 1);
        self.acked = epoch;
        Ok(store)
    }
}

const EPOCHS: usize = 14;

/// Runs a history on a disk that dies at operation `fatal_op`, counted from after the creation.
fn history(seed: u64, fatal_op: Option<u64>, lying_syncs: bool) -> (Arc<MemDisk>, History, u64) {
    let disk = disk(true);
    let mut history = History { models: vec![Model::default()], acked: 0 };
    let mut store = create(&disk).unwrap();
    let first = disk.counts().0;
    disk.set_faults(Faults { fatal_op: fatal_op.map(|op| first + op), lying_syncs, ..Faults::default() });
    let ended = history.run(&mut store, &mut Coins(seed), EPOCHS).and_then(|()| store.close());
    assert!(fatal_op.is_some() || ended.is_ok(), "{ended:?}");
    let ops = disk.counts().0 - first;
    (disk, history, ops)
}

/// Cuts the power in one of several ways, recovers, cuts recovery short, recovers, goes on, closes, opens.
fn survive(disk: &MemDisk, history: &History, seed: u64, variant: u64) -> Result<(), String> {
    let mut history = history.clone();
    let coins = &mut Coins(seed ^ variant << 32);
    let crashed = if variant == 0 { disk.after_kill() } else { disk.after_power_cut(coins.next()) };
    let fatal_op = Some(coins.below(30));
    crashed.set_faults(Faults { fatal_op, ..Faults::default() });
    // Whether or not it gets through: what it finds, and what it acknowledges, must last.
    match open(&crashed) {
        Ok((store, epoch, found)) => {
            drop(store);
            if history.models.get(epoch.0 as usize) != Some(&found) {
                return Err(format!("first recovery: not the contents of epoch {epoch}"));
            }
            history.acked = history.acked.max(epoch.0 as usize);
        }
        Err(error) if error.raw_os_error() == Some(libc::EIO) => {}
        Err(error) => return Err(format!("first recovery: {error:?}")),
    }
    let again = if coins.below(3) == 0 { crashed.after_kill() } else { crashed.after_power_cut(coins.next()) };
    let mut store = history.check(&again)?;
    let epochs = history.models.len() + 3;
    history.run(&mut store, coins, epochs).map_err(|e| format!("going on: {e:?}"))?;
    drop(store);
    let mut store = history.check(&again.after_power_cut(coins.next()))?;
    history
        .run(&mut store, coins, epochs + 2)
        .and_then(|()| store.close())
        .map(|_| ())
        .map_err(|e| format!("to the end: {e:?}"))
}

/// Every cut of the histories of these seeds; returns what went wrong first, and how many cuts there were.
fn cut_everywhere(seeds: std::ops::Range<u64>, lying_syncs: bool) -> (Option<String>, u64) {
    let mut cuts = 0;
    for seed in seeds {
        let (_, _, ops) = history(seed, None, lying_syncs);
        for op in 0..=ops {
            let (disk, history, _) = history(seed, Some(op), lying_syncs);
            for variant in 0..4 {
                cuts += 1;
                if let Err(what) = survive(&disk, &history, seed * 1000 + op, variant) {
                    return (
                        Some(format!("seed {seed}, cut at operation {op} of {ops}, variant {variant}: {what}")),
                        cuts,
                    );
                }
            }
        }
    }
    (None, cuts)
}

#[test]
fn every_cut_leaves_an_acknowledged_or_attempted_epoch() {
    let (wrong, cuts) = cut_everywhere(0..12, false);
    assert_eq!(wrong, None);
    assert!(cuts > 1000, "only {cuts} cuts");
}

#[test]
fn canary_syncs_that_do_nothing_are_caught() {
    assert!(cut_everywhere(0..4, true).0.is_some());
}

#[test]
fn a_failed_sync_poisons_and_the_next_process_makes_good() {
    for seed in 0..6 {
        let (disk, ..) = history(seed, None, false);
        let syncs = disk.counts().1;
        for sync in 0..syncs {
            let disk = super::model::disk(true);
            let mut history = History { models: vec![Model::default()], acked: 0 };
            let mut store = create(&disk).unwrap();
            disk.set_faults(Faults { failing_sync: Some(sync), ..Faults::default() });
            if history.run(&mut store, &mut Coins(seed), EPOCHS).is_ok() {
                continue;
            }
            let model = &mut history.models[history.acked].clone();
            let error = store.append(Epoch(1000), &mut model.change(&mut Coins(1))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned, "seed {seed} sync {sync}: {error}");
            assert!(error.to_string().contains("fdatasync"), "{error}");
            assert_eq!(store.close().unwrap_err().kind(), ErrorKind::Poisoned);
            // The page cache survives the process, and shows what the disk may not have.
            for cut in 0..8 {
                let named = |what: String| panic!("seed {seed} sync {sync} cut {cut}: {what}");
                let (disk, mut history, mut coins) = (disk.after_kill(), history.clone(), Coins(sync << 8 | cut));
                let mut store = history.check(&disk).unwrap_or_else(named);
                let fatal_op = Some(disk.counts().0 + coins.below(60));
                disk.set_faults(Faults { fatal_op, ..Faults::default() });
                let epochs = history.models.len() + 12;
                let _ = history.run(&mut store, &mut coins, epochs);
                drop(store);
                drop(history.check(&disk.after_power_cut(cut)).unwrap_or_else(named));
            }
        }
    }
}
