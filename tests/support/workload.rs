//! A heap whose contents follow from one number, and a process that works on it while somebody interferes with its system calls.
//!
//! The root, the desk, says how many steps were done; each step is one section, and what it does follows from its number (`Change`). So any state that a heap is
//! found in can be compared with what it must be. What happens is printed, one line each:
//!
//! - `trying STEP` before each cut, then `durable STEP`, or `failed STEP KIND TEXT` followed by `readable`; `poisoned TEXT` if the heap had to be opened again;
//! - `opened STEP`, `closed`;
//! - `refused WHAT KIND TEXT` if something was refused, and done by a second try; `stuck WHAT KIND TEXT` if that was refused as well;
//! - `WRONG TEXT`, and at the end `done STEP`.
//!
//! Must not: know what the interference is.

#[path = "workload/desk.rs"]
mod desk;

#[cfg(target_arch = "x86_64")]
use crate::inject::mark;
use crate::trackers::options;
use anyhow::{bail, ensure};
use desk::Model;
use std::path::Path;
use strewn::{Error, ErrorKind, Heap, Ticket, TrackerKind};

/// A few checkpoints fill it.
const LOG_BYTES: u64 = 48 << 10;
const STEPS_A_CHECKPOINT: u64 = 12;
const STEPS_A_THREAD: u64 = 25;
/// What is done to a heap that survived something.
const STEPS_AFTER: u64 = 10;

/// Phases of the workload: the heap is used until it is closed ...
pub const IN_USE: u64 = 1;
/// ... or dropped, so that nobody hears of a fold that fails in the end.
pub const TO_BE_DROPPED: u64 = 2;

#[cfg(not(target_arch = "x86_64"))]
fn mark(_phase: u64) {}

/// Why a stretch of work ended.
enum End {
    Done,
    Poisoned,
}

/// Creates a heap, takes it `steps` steps on in three sessions, and verifies it.
///
/// # Errors
/// If something is wrong with the heap, or does not work a second time either.
pub fn run(path: &Path, tracker: TrackerKind, steps: u64) -> anyhow::Result<()> {
    mark(IN_USE);
    let outcome = sessions(path, tracker, steps);
    mark(0);
    outcome
}

fn sessions(path: &Path, tracker: TrackerKind, steps: u64) -> anyhow::Result<()> {
    let mut heap = twice("create", || options(tracker, LOG_BYTES).seed(5).create(path))?;
    for (session, target) in [steps * 3 / 5, steps * 4 / 5, steps].into_iter().enumerate() {
        mark(if session == 1 { TO_BE_DROPPED } else { IN_USE });
        while let End::Poisoned = work(&heap, target)? {
            drop(heap);
            heap = open(path, tracker)?;
        }
        if session == 1 {
            // As if the process had died.
            drop(heap);
        } else {
            close(heap, target)?;
        }
        heap = open(path, tracker)?;
    }
    println!("done {}", desk::verify(&heap, None).map_err(wrong)?);
    Ok(())
}

/// Opens, or creates, what a process left that was killed or met a fault; verifies it, works on it, and verifies it again.
///
/// # Errors
/// If anything does not work, or is wrong.
pub fn after(path: &Path, tracker: TrackerKind) -> anyhow::Result<()> {
    let heap = match options(tracker, LOG_BYTES).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            println!("found nothing");
            options(tracker, LOG_BYTES).create(path)?
        }
        heap => heap?,
    };
    heap.check();
    let step = desk::verify(&heap, None).map_err(wrong)?;
    println!("found {step}");
    ensure!(matches!(work(&heap, step + STEPS_AFTER)?, End::Done), "poisoned without a fault");
    heap.check();
    println!("trying {}", step + STEPS_AFTER);
    heap.close()?;
    println!("durable {}", step + STEPS_AFTER);
    let heap = options(tracker, LOG_BYTES).open(path)?;
    heap.check();
    println!("done {}", desk::verify(&heap, None).map_err(wrong)?);
    Ok(())
}

fn wrong(what: String) -> anyhow::Error {
    println!("WRONG {what}");
    anyhow::anyhow!(what)
}

fn refused(what: &str, e: &Error) {
    println!("refused {what} {:?} {e}", e.kind());
}

/// Tries twice.
fn twice<T>(what: &str, mut act: impl FnMut() -> strewn::Result<T>) -> anyhow::Result<T> {
    match act() {
        Ok(done) => return Ok(done),
        Err(e) => refused(what, &e),
    }
    act().map_err(|e| {
        println!("stuck {what} {:?} {e}", e.kind());
        e.into()
    })
}

fn open(path: &Path, tracker: TrackerKind) -> anyhow::Result<Heap> {
    let heap = twice("open", || options(tracker, LOG_BYTES).open(path))?;
    heap.check();
    println!("opened {}", desk::verify(&heap, None).map_err(wrong)?);
    Ok(heap)
}

/// A heap that cannot be closed is as of its last checkpoint; so is one that cannot fold.
fn close(heap: Heap, step: u64) -> anyhow::Result<()> {
    println!("trying {step}");
    match heap.close() {
        Ok(_) => println!("closed\ndurable {step}"),
        Err(e) => refused("close", &e),
    }
    Ok(())
}

/// Works until `target` steps are done, with a checkpoint now and then.
fn work(heap: &Heap, target: u64) -> anyhow::Result<End> {
    let mut model = Model::at(desk::step(heap)?);
    let mut ticket = None;
    while model.step() < target {
        twice("step", || advance(heap, &mut model))?;
        if !model.step().is_multiple_of(STEPS_A_CHECKPOINT) {
            continue;
        }
        twice("stats", || heap.stats())?;
        if let Some((step, ticket)) = ticket.take()
            && let End::Poisoned = durable(heap, &model, step, Ticket::wait(&ticket).map(drop))?
        {
            return Ok(End::Poisoned);
        }
        let step = model.step();
        println!("trying {step}");
        if step.is_multiple_of(2 * STEPS_A_CHECKPOINT) {
            match heap.checkpoint_async() {
                Ok(cut) => ticket = Some((step, cut)),
                Err(e) => {
                    if let End::Poisoned = durable(heap, &model, step, Err(e))? {
                        return Ok(End::Poisoned);
                    }
                }
            }
        } else if let End::Poisoned = durable(heap, &model, step, heap.checkpoint().map(drop))? {
            return Ok(End::Poisoned);
        }
    }
    match ticket {
        Some((step, ticket)) => durable(heap, &model, step, ticket.wait().map(drop)),
        None => Ok(End::Done),
    }
}

/// One step, now and then on a thread of its own.
fn advance(heap: &Heap, model: &mut Model) -> strewn::Result<()> {
    if !(model.step() + 1).is_multiple_of(STEPS_A_THREAD) {
        return desk::advance(heap, model);
    }
    std::thread::scope(|scope| {
        let mut copy = model.clone();
        let there =
            std::thread::Builder::new().spawn_scoped(scope, move || desk::advance(heap, &mut copy).map(|()| copy));
        match there {
            Ok(thread) => {
                *model = thread.join().expect("a step does not panic")?;
                Ok(())
            }
            // The operating system has no thread to give, which is no matter of the heap.
            Err(_) => desk::advance(heap, model),
        }
    })
}

/// Says what came of the checkpoint of `step`. If it failed, the heap must be readable, and the next one must succeed, unless a sync failed.
fn durable(heap: &Heap, model: &Model, step: u64, outcome: strewn::Result<()>) -> anyhow::Result<End> {
    let Err(e) = outcome else {
        println!("durable {step}");
        return Ok(End::Done);
    };
    println!("failed {step} {:?} {e}", e.kind());
    desk::verify(heap, Some(model)).map_err(wrong)?;
    println!("readable\ntrying {}", model.step());
    match heap.checkpoint() {
        Ok(_) => println!("durable {}", model.step()),
        Err(e) if e.kind() == ErrorKind::Poisoned => {
            println!("poisoned {e}");
            desk::verify(heap, Some(model)).map_err(wrong)?;
            return Ok(End::Poisoned);
        }
        Err(e) => {
            println!("stuck checkpoint {:?} {e}", e.kind());
            bail!("two checkpoints failed: {e}");
        }
    }
    Ok(End::Done)
}
