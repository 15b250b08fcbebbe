//! What gets killed: a process that indexes, checkpoints, and tells its supervisor about both. See the module above for the order in which it tells.

use super::ledger::{Message, State};
use crate::CHECKPOINT_EVERY;
use crate::hash::hash_bytes;
use crate::index::{Contents, Index};
use crate::store::{Observer, Store};
use crate::sweep::sweep;
use crate::tokenize::Words;
use crate::walk::{roots_or_default, walk};
use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use strewn::Heap;

/// How many files are spoilt before each sweep, so that there is always work to do, and of every kind.
const SPOILT: usize = 16;

/// The arguments of a child.
#[derive(clap::Args)]
pub struct ChildArgs {
    /// Which files it spoils
    #[arg(long)]
    seed: u64,
    /// What it indexes
    dirs: Vec<PathBuf>,
}

/// Tells the supervisor, in one write, so that it is told all or nothing.
fn tell(message: Message) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{message}\n").as_bytes())?;
    stdout.flush().context("nobody listens")
}

fn state(index: &Index<'_>) -> State {
    State { generation: index.generation, digest: index.digest }
}

/// Announces each state before its section ends, and keeps the generation of the last section that did end.
struct Announcer<'a> {
    left: &'a AtomicU64,
}

impl Observer for Announcer<'_> {
    fn changed(&mut self, index: &Index<'_>) -> Result<()> {
        tell(Message::Made(state(index)))
    }

    fn left(&mut self, generation: u64) {
        // Release: pairs with the Acquire load in `acknowledge`; the section of `generation` has ended before.
        self.left.store(generation, Ordering::Release);
    }
}

/// Spoils what there is, brings it up to date, and so on, until it is killed.
pub fn be_killed(path: &Path, args: &ChildArgs) -> Result<ExitCode> {
    let heap = Heap::open_or_create(path)?;
    let mut store = Store::open_or_create(&heap)?;
    let opened = store.read(state)?;
    tell(Message::Opened(opened))?;
    let left = AtomicU64::new(opened.generation);
    let walk = walk(&roots_or_default(&args.dirs))?;
    let mut rng = SmallRng::seed_from_u64(args.seed);
    std::thread::scope(|scope| {
        // Both sides end the process when they fail: the other one would go on for ever.
        scope.spawn(|| {
            let Err(e) = acknowledge(&heap, &left);
            give_up(&e)
        });
        let mut announcer = Announcer { left: &left };
        loop {
            let spoilt = spoil(&mut store, &mut announcer, &mut rng);
            if let Err(e) = spoilt.and_then(|()| sweep(&mut store, &walk, &mut announcer)) {
                give_up(&e);
            }
        }
    })
}

fn give_up(e: &anyhow::Error) -> ! {
    eprintln!("the child failed: {e:#}");
    std::process::exit(3);
}

/// Makes checkpoints and tells which generation each is certain to have.
fn acknowledge(heap: &Heap, left: &AtomicU64) -> Result<Infallible> {
    loop {
        // Acquire: pairs with the Release store in `Announcer::left`; that section ended before the cut, so the checkpoint has it.
        let generation = left.load(Ordering::Acquire);
        heap.checkpoint()?;
        tell(Message::Durable(generation))?;
        std::thread::sleep(CHECKPOINT_EVERY);
    }
}

/// Removes random files, or replaces them by half of themselves. The next sweep repairs that.
fn spoil(store: &mut Store<'_>, announcer: &mut Announcer<'_>, rng: &mut SmallRng) -> Result<()> {
    let numbers = store.read(|index| index.files.len() as u32)?;
    for _ in 0..SPOILT.min(numbers as usize) {
        let (number, salt) = (rng.random_range(0..numbers), rng.random());
        let Some((path, words)) = store.read(|index| half_of(index, number, salt))? else {
            continue;
        };
        store.edit(announcer, |index, section| {
            if salt % 2 == 0 {
                return index.remove(number);
            }
            index.put(&Contents { path: &path, mtime_ns: salt, size_bytes: 0, words: &words }, section)
        })?;
    }
    Ok(())
}

/// The path of a file and about half of its words, with other counts.
fn half_of(index: &Index<'_>, number: u32, salt: u64) -> Option<(Vec<u8>, Words)> {
    let file = index.file(number)?;
    let half = file.words().filter(|word| (hash_bytes(word.as_bytes()) ^ salt) & 4 == 0);
    let words = half.map(|word| (word.into(), 1 + (salt >> 60) as u32)).collect();
    Some((file.path.to_vec(), words))
}
