//! One damage after the other: each is done to a specimen, the heap is opened, and the damage is undone.
//!
//! The outcome must be an error of a sensible kind that names the place and leaves the files as they are, or a heap with
//! exactly the right contents.

use crate::files::{FileState, Snapshot};
use crate::memory::mix;
use crate::specimen;
use anyhow::{Context, bail, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use strewn::{ErrorKind, TrackerKind};

/// Of the zero bytes, one in so many is damaged as well.
const ZERO_SAMPLE: u64 = 1021;

enum Damage {
    Flip { at: u64, bit: u8 },
    Truncate { len: u64 },
}

/// What came of all damages.
#[derive(Default)]
struct Tally {
    opened: u64,
    refused: BTreeMap<String, u64>,
}

/// Does every `of`-th damage from number `shard` on to the specimen at `path`, which must be at `step`. Prints a summary.
///
/// # Errors
/// The first damage that had a wrong outcome.
pub fn run(path: &Path, tracker: TrackerKind, step: u64, shard: u64, of: u64) -> anyhow::Result<()> {
    let pristine = Snapshot::take(path);
    let mut tally = Tally::default();
    let mut number = 0;
    for (name, state) in pristine.files() {
        for damage in damages(name, state) {
            number += 1;
            if number % of == shard {
                let what = describe(name, &damage);
                do_one(path, tracker, step, &pristine, name, &damage, &mut tally).context(what)?;
            }
        }
    }
    println!("{} opened with the right contents, refused: {:?}", tally.opened, tally.refused);
    Ok(())
}

fn damages(name: &Path, state: &FileState) -> Vec<Damage> {
    let salt = name.as_os_str().len() as u64;
    let flip = |at: u64| Damage::Flip { at, bit: (mix(salt, at) % 8) as u8 };
    let mut damages: Vec<Damage> = state.nonzero().map(|(at, _)| flip(at)).collect();
    damages.extend((0..state.len).step_by(ZERO_SAMPLE as usize).map(|at| flip(at + mix(salt, at) % ZERO_SAMPLE)));
    damages.retain(|damage| !matches!(damage, Damage::Flip { at, .. } if *at >= state.len));
    // Wherever a header or a page may end, right before and after; and anywhere near data.
    let boundaries = (0..state.len).filter(|at| *at < 100 || at.is_multiple_of(512) || at.is_multiple_of(397));
    let near_data =
        |at: &u64| *at < 100 || state.chunks.contains_key(&(at / 4096 * 4096)) || at.is_multiple_of(1 << 16);
    damages.extend(boundaries.filter(near_data).map(|len| Damage::Truncate { len }));
    damages
}

fn describe(name: &Path, damage: &Damage) -> String {
    match damage {
        Damage::Flip { at, bit } => format!("{}: bit {bit} of the byte at {at:#x} flipped", name.display()),
        Damage::Truncate { len } => format!("{}: truncated to {len:#x} bytes", name.display()),
    }
}

fn do_one(
    path: &Path,
    tracker: TrackerKind,
    step: u64,
    pristine: &Snapshot,
    name: &Path,
    damage: &Damage,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    inflict(&path.join(name), damage)?;
    let damaged = Snapshot::take(path);
    match specimen::open_and_verify(path, tracker) {
        Ok(found) => {
            ensure!(found == step, "opened, but at step {found} instead of {step}");
            tally.opened += 1;
        }
        Err((None, what)) => bail!("opened, but {what}"),
        Err((Some(kind), what)) => {
            let sensible = [ErrorKind::Corrupt, ErrorKind::NotAHeap, ErrorKind::UnsupportedVersion];
            ensure!(sensible.contains(&kind), "{kind:?} is no sensible kind: {what}");
            ensure!(what.contains(&path.display().to_string()), "the message names no path: {what}");
            ensure!(kind != ErrorKind::Corrupt || what.contains("offset 0x"), "the message names no offset: {what}");
            let change = damaged.any_change(&Snapshot::take(path));
            ensure!(change.is_none(), "the refused open changed a file: {change:?}");
            *tally.refused.entry(format!("{kind:?}")).or_default() += 1;
        }
    }
    pristine.restore(path);
    Ok(())
}

fn inflict(path: &Path, damage: &Damage) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    match damage {
        Damage::Flip { at, bit } => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, *at)?;
            file.write_all_at(&[byte[0] ^ 1 << bit], *at)?;
        }
        Damage::Truncate { len } => file.set_len(*len)?,
    }
    Ok(())
}
