//! W1 to W3, with a store that fails, and one that panics.

use super::*;
use crate::base::models::{DEADLOCK, Model, size};
use crate::base::{FrameIndex, ZoneIndex};
use crate::durable::{Item, RecordBuilder};
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Mutex as StdMutex;

/// What the store of a model does at its first append.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Succeeds,
    Fails,
    Panics,
}

/// What a store has seen. No part of the protocol, so of std.
#[derive(Default)]
struct Seen {
    appends: usize,
    durable: BTreeSet<u32>,
    panicked: bool,
    /// What was against the rules. The writer catches panics.
    wrong: Option<&'static str>,
}

struct Store {
    seen: Arc<StdMutex<Seen>>,
    first: First,
}

impl Journal for Store {
    fn append(&mut self, _: Epoch, record: &mut Record) -> Result<()> {
        let mut seen = self.seen.lock().unwrap();
        let numbers = numbers(record);
        let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
        let newest = *distinct.last().expect("a record of something");
        if seen.panicked {
            seen.wrong = Some("the store was used after a panic");
        } else if distinct.len() < numbers.len() {
            seen.wrong = Some("a record was owed twice");
        } else if (1..newest).any(|number| !distinct.contains(&number) && !seen.durable.contains(&number)) {
            seen.wrong = Some("a record overtook another");
        }
        seen.appends += 1;
        match self.first {
            First::Fails if seen.appends == 1 => return Err(Error::new(ErrorKind::Io, "the first append")),
            First::Panics if seen.appends == 1 => {
                seen.panicked = true;
                drop(seen);
                resume_unwind(Box::new("the first append"));
            }
            _ => seen.durable.extend(distinct),
        }
        Ok(())
    }
}

/// What a record is about: the cuts that it makes durable.
fn numbers(record: &Record) -> Vec<u32> {
    let numbers = record.items().map(|item| match item {
        Ok(Item::ZeroPages { first, .. }) => first.0,
        _ => panic!("no record of this model"),
    });
    numbers.collect()
}

/// The part of the engine that cuts: one at a time.
struct Cutter {
    writer: Writer<Store>,
    cuts: Mutex<u32>,
    seen: Arc<StdMutex<Seen>>,
}

impl Cutter {
    fn new(first: First) -> Self {
        let seen = Arc::<StdMutex<Seen>>::default();
        let writer = Idle::start().unwrap().serve(Store { seen: seen.clone(), first });
        Self { writer, cuts: Mutex::new(0), seen }
    }

    fn cut(&self) -> Arc<Pending> {
        let mut cuts = lock(&self.cuts);
        let (owed, buffer) = self.writer.prepare();
        *cuts += 1;
        let mut builder = RecordBuilder::new(buffer);
        for number in owed.iter().flat_map(numbers).chain([*cuts]) {
            builder.zero_pages(ZoneIndex(0), FrameIndex(number), 1);
        }
        let pending = Arc::new(Pending::default());
        self.writer.submit(Job { epoch: Epoch(u64::from(*cuts)), record: builder.finish(), pending: pending.clone() });
        pending
    }

    /// Ends the writer. What it has made durable.
    fn close(self) -> (bool, BTreeSet<u32>) {
        let store = self.writer.close();
        let mut seen = self.seen.lock().unwrap();
        if let Some(wrong) = seen.wrong {
            panic!("{wrong}");
        }
        (store.is_some(), std::mem::take(&mut seen.durable))
    }
}

/// `threads` threads make `cuts` cuts each, of which one or more fail; then there are cuts until one succeeds. All are durable then.
fn failing(first: First, threads: usize, cuts: usize) {
    let cutter = Arc::new(Cutter::new(first));
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let cutter = cutter.clone();
            thread::spawn(move || (0..cuts).map(|_| cutter.cut()).collect::<Vec<_>>())
        })
        .collect();
    let mut tickets: Vec<_> = (0..cuts).map(|_| cutter.cut()).collect();
    tickets.extend(others.into_iter().flat_map(|other| other.join().unwrap()));
    let failed = tickets.iter().filter(|ticket| ticket.wait().is_err()).count();
    assert!((failed > 0) == (first == First::Fails));
    assert!((0..2).any(|_| cutter.cut().wait().is_ok()), "the store works again, and is not used");
    let last = *lock(&cutter.cuts);
    let (open, durable) = Arc::into_inner(cutter).expect("the others have ended").close();
    assert!(open && durable == (1..=last).collect(), "a record was lost");
}

#[test]
fn a_record_that_failed_is_owed_once_and_none_overtakes_it() {
    Model::new("writer, a failing append", || failing(First::Fails, size(1, 2), size(2, 4)))
        .preemptions(5)
        .holds()
        .rejects(Mistake::WriterGoesOn, "a record overtook another")
        .rejects(Mistake::WriterForgetsFailure, "a record overtook another")
        .rejects(Mistake::WriterHidesRoom, DEADLOCK);
    Model::new("writer, no failure", || failing(First::Succeeds, size(1, 3), size(2, 4)))
        .preemptions(5)
        .holds()
        .rejects(Mistake::WriterHidesRoom, DEADLOCK);
}

/// Whoever is told that a checkpoint failed finds it owed at the next.
fn told() {
    let cutter = Cutter::new(First::Fails);
    let told = cutter.cut().wait();
    let (owed, _) = cutter.writer.prepare();
    assert!(cutter.close().0 && told.is_err());
    assert!(owed.iter().map(numbers).eq([vec![1]]), "told of a failure that is not owed");
}

#[test]
fn a_ticket_that_says_failed_comes_after_the_debt() {
    Model::new("writer, a failed ticket", told).holds().rejects(Mistake::WriterOwesLate, "not owed");
}

/// All tickets are resolved, and the store is not used again.
fn panicking(cuts: usize) {
    let cutter = Cutter::new(First::Panics);
    let tickets: Vec<_> = (0..cuts).map(|_| cutter.cut()).collect();
    let poisoned = |ticket: &Arc<Pending>| ticket.wait().is_err_and(|e| e.kind() == ErrorKind::Poisoned);
    let refused = tickets.iter().filter(|ticket| poisoned(ticket)).count();
    let (open, durable) = cutter.close();
    assert!(refused == cuts, "durable, after a panic");
    assert!(!open && durable.is_empty());
}

#[test]
fn a_panic_ends_the_store_and_nobody_waits_for_ever() {
    Model::new("writer, a panic", || panicking(size(2, 6)))
        .holds()
        .rejects(Mistake::WriterOutlivesPanic, "after a panic");
}

/// What was handed over before the end is known when the end has come.
fn closing(cuts: usize) {
    let cutter = Cutter::new(First::Succeeds);
    let tickets: Vec<_> = (0..cuts).map(|_| cutter.cut()).collect();
    assert!(cutter.close().1.len() == cuts);
    assert!(tickets.iter().all(|ticket| ticket.poll().is_some()), "closed before all was known");
}

#[test]
fn the_end_waits_for_what_was_handed_over() {
    Model::new("writer, closing", || closing(size(1, 4))).holds().rejects(Mistake::WriterStopsSilently, DEADLOCK);
}
