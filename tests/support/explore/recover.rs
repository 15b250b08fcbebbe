//! One crash state: recovery must find what was promised; find it again; find it when it is cut short itself; and the heap must go on.

use super::Tally;
use super::history::{Allowed, Attempt, History};
use crate::sim::volume::random_fate;
use crate::sim::{Coins, Op, SimDisk, Volume};
use crate::store_model::{self as store, Model, path};
use std::sync::Arc;
use strewn::testing::format::names;
use strewn::testing::{self, Epoch, LogStore};
use strewn::{Error, ErrorKind};

/// Once in how many states the heap goes on, and crashes again.
const GO_ON_ONE_IN: u64 = 8;
/// For how many epochs.
const EPOCHS: u64 = 6;

/// Recovers `state`, which a crash left after the first `cut` operations of `history`.
///
/// # Errors
/// What is wrong.
pub fn check(state: Volume, history: &History, cut: usize, coins: &mut Coins, tally: &mut Tally) -> Result<(), String> {
    tally.states += 1;
    let allowed = history.allowed(cut);
    let Some((disk, store, epoch, model)) = look(&state, history, &allowed)? else { return Ok(()) };
    drop(store);
    let recovered = disk.volume();
    again(&recovered, epoch, &model).map_err(|what| format!("recovered a second time: {what}"))?;
    cut_short(&state, &disk, history, &allowed, (epoch, &model), coins, tally)
        .map_err(|what| format!("recovery of epoch {epoch} cut short: {what}"))?;
    if coins.one_in(GO_ON_ONE_IN) {
        go_on(&recovered, epoch, &model, coins, tally)
            .map_err(|what| format!("going on after epoch {epoch}: {what}"))?;
    }
    Ok(())
}

type Found = (Arc<SimDisk>, LogStore, u64, Arc<Model>);

/// Opens what is there. `None` if there is no heap, may be none, and one could be created.
fn look(state: &Volume, history: &History, allowed: &Allowed) -> Result<Option<Found>, String> {
    let disk = SimDisk::of(state.clone());
    let checked = check_only(state)?;
    let opened = store::open(&disk);
    match (&checked, &opened) {
        (Ok(found), Ok((_, epoch, _))) if *found == epoch.0 => {}
        // The model's roots lead anywhere, which the store does not look at.
        (Err(e), Ok(_)) if e.to_string().contains("root `") => {}
        (Err(a), Err(b)) if a.kind() == b.kind() => {}
        (checked, _) => return Err(format!("check says {checked:?}, and open {:?}", opened.map(|found| found.1))),
    }
    let (store, epoch, model) = match opened {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound && allowed.nothing => {
            let created = store::create(&disk, &history.options);
            return created.map(|_| None).map_err(told("creating a heap where a creation was cut short"));
        }
        Err(e) => return Err(told("opening the heap")(e)),
    };
    let epochs = || allowed.epochs.iter().map(|(epoch, _)| epoch).collect::<Vec<_>>();
    if !allowed.epochs.iter().any(|(number, _)| *number == epoch.0) {
        return Err(format!("epoch {epoch} was found, not one of {:?}", epochs()));
    }
    match allowed.epochs.iter().find(|(number, expected)| *number == epoch.0 && **expected == model) {
        Some((_, model)) => Ok(Some((disk, store, epoch.0, model.clone()))),
        None => Err(format!("the contents are not those of epoch {epoch}")),
    }
}

/// What `check` says; it must change nothing.
fn check_only(state: &Volume) -> Result<Result<u64, Error>, String> {
    let disk = SimDisk::of(state.clone());
    let checked = testing::check(&disk.place(), path());
    match disk.counts().1 {
        0 => Ok(checked.map(|report| report.epoch)),
        ops => Err(format!("check did {ops} operations")),
    }
}

fn told(what: &str) -> impl Fn(Error) -> String {
    move |e| format!("{what}: {e:?}")
}

/// A second recovery finds the same, and changes no byte.
fn again(recovered: &Volume, epoch: u64, model: &Model) -> Result<(), String> {
    let disk = SimDisk::of(recovered.clone());
    let (store, found, contents) = store::open(&disk).map_err(told("opening the heap"))?;
    drop(store);
    if (found.0, &contents) != (epoch, model) {
        return Err(format!("epoch {found} was found, or other contents than those of epoch {epoch}"));
    }
    let (before, after) = (recovered.files_in(path()), disk.files_in(path()));
    match before.iter().find(|(name, bytes)| after.get(*name) != Some(bytes)) {
        Some((name, _)) => Err(format!("file {name} was changed")),
        None => Ok(()),
    }
}

/// The power fails during recovery, or right after it: what it found is acknowledged once it has returned.
fn cut_short(
    state: &Volume,
    disk: &SimDisk,
    history: &History,
    allowed: &Allowed,
    (epoch, model): (u64, &Arc<Model>),
    coins: &mut Coins,
    tally: &mut Tally,
) -> Result<(), String> {
    let ops = disk.journal();
    let cut = coins.below(ops.len() as u64 + 1) as usize;
    let mut volume = state.clone();
    ops[..cut].iter().for_each(|op| volume.apply(op));
    let after = if coins.one_in(4) { volume } else { volume.after_power_cut(&mut random_fate(coins)) };
    tally.states += 1;
    tally.during_recovery += 1;
    let found = Allowed { nothing: false, epochs: vec![(epoch, model.clone())] };
    // What it delivers must hold once it is done: from then on the fold that it starts is all that goes on.
    let done = ops.iter().position(|op| begins_fold(disk, op)).unwrap_or(ops.len());
    let allowed = if cut >= done { &found } else { allowed };
    look(&after, history, allowed).map(drop).map_err(|what| format!("at operation {cut} of {}: {what}", ops.len()))
}

/// Whether `op` is of a fold, and of nothing else: it writes a catalog, or makes an image file.
fn begins_fold(disk: &SimDisk, op: &Op) -> bool {
    match op {
        Op::Write(file, ..) => names::METAS.iter().any(|name| disk.is_called(*file, name)),
        Op::Create(_, name) => name.starts_with("zone"),
        _ => false,
    }
}

/// The heap is used for some epochs, and the power fails somewhere in them, once or twice.
fn go_on(
    recovered: &Volume,
    epoch: u64,
    model: &Arc<Model>,
    coins: &mut Coins,
    tally: &mut Tally,
) -> Result<(), String> {
    let disk = SimDisk::of(recovered.clone());
    let (mut store, ..) = store::open(&disk).map_err(told("opening the heap"))?;
    let at = || disk.counts().1;
    let mut model_now = Model::clone(model);
    let mut attempts = vec![Attempt { epoch, model: model.clone(), begun: 0, acked: Some(at()), given_up: None }];
    for epoch in epoch + 1..=epoch + EPOCHS {
        let mut record = model_now.change(coins);
        let model = Arc::new(model_now.clone());
        let begun = at();
        store.append(Epoch(epoch), &mut record).map_err(told("appending a record"))?;
        attempts.push(Attempt { epoch, model, begun, acked: Some(at()), given_up: None });
    }
    store.close().map_err(told("closing the heap"))?;
    let history = History::new(disk.journal(), attempts);
    // From when it was open again on: before that, see `cut_short`.
    let first = history.attempts()[0].acked.expect("it was found") as u64;
    for _ in 0..2 {
        let cut = (first + coins.below(history.ops.len() as u64 - first + 1)) as usize;
        let mut volume = recovered.clone();
        history.ops[..cut].iter().for_each(|op| volume.apply(op));
        let after = if coins.one_in(4) { volume } else { volume.after_power_cut(&mut random_fate(coins)) };
        tally.states += 1;
        tally.after_going_on += 1;
        look(&after, &history, &history.allowed(cut))
            .map_err(|what| format!("cut at operation {cut} of {}: {what}", history.ops.len()))?;
    }
    Ok(())
}
