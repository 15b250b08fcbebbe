//! Folds that go on while the program appends: histories are recorded with each fold done by the thread that appends, and here its operations are put among
//! those of the appends that follow, as a background thread would.
//!
//! That is an order which real threads may take: a fold writes catalogs, image files and the superblock, an append writes the active log segment and `acked`, and neither reads what the
//! other writes, until the next segment begins, which waits for the fold.

use super::history::History;
use crate::sim::{Coins, Op, Volume};
use strewn::testing::format::names;

/// Who does an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Actor {
    Append,
    Fold,
    /// Everything else has to be done before it.
    Barrier,
}

/// Moves the operations of folds to random places before the next barrier.
pub fn delay_folds(history: &mut History, coins: &mut Coins) {
    let actors = actors(history);
    let mut order: Vec<usize> = Vec::new();
    let mut waiting: Vec<usize> = Vec::new();
    let mut waits = 0;
    for (i, actor) in actors.iter().enumerate() {
        match actor {
            Actor::Fold => waiting.push(i),
            Actor::Barrier => {
                order.append(&mut waiting);
                order.push(i);
            }
            Actor::Append => {
                // None, some or all of what waits is done before this.
                waits = if waits == 0 { coins.below(40) } else { waits - 1 };
                let done = if waits == 0 { coins.below(waiting.len() as u64 + 1) as usize } else { 0 };
                order.extend(waiting.drain(..done));
                order.push(i);
            }
        }
    }
    order.append(&mut waiting);
    // Position p meant "after the first p operations": it becomes the place behind the last of the *appends* among them.
    let mut place = vec![0; order.len() + 1];
    let mut new = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, from)| new[*from] = to);
    let mut last = 0;
    for (i, actor) in actors.iter().enumerate() {
        if *actor != Actor::Fold {
            last = new[i] + 1;
        }
        place[i + 1] = last;
    }
    history.ops = order.iter().map(|i| history.ops[*i].clone()).collect();
    history.move_positions(&place);
}

/// Who did each operation: known by the file. What is done while a heap is created, opened or closed waits for nobody.
fn actors(history: &History) -> Vec<Actor> {
    let mut volume = Volume::default();
    let mut names_of: Vec<String> = Vec::new();
    let mut actors = Vec::new();
    for (i, op) in history.ops.iter().enumerate() {
        if let Op::Create(_, name) = op {
            names_of.push(name.clone());
        }
        let is_log = |file: &usize| names::LOGS.contains(&names_of[*file].as_str());
        let is_acked = |file: &usize| names_of[*file] == names::ACKED;
        let actor = match op {
            Op::Write(file, 0, _) if is_log(file) => Actor::Barrier,
            Op::Write(file, ..) | Op::SetLen(file, _) | Op::Sync(file) | Op::FailedSync(file, _)
                if is_log(file) || is_acked(file) =>
            {
                Actor::Append
            }
            _ => Actor::Fold,
        };
        let quiet = history.quiet.iter().any(|range| range.contains(&i));
        actors.push(if quiet { Actor::Barrier } else { actor });
        volume.apply(op);
    }
    actors
}
