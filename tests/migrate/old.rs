//! An older program: makes a heap, and reads it. The newer one is `new.rs`. The two share nothing but the names of their types in the heap, and what the heap holds.
//!
//! - `strewn-old-child make PATH TRACKER COUNT` makes a heap with that many items, and ends without closing it.
//! - `strewn-old-child golden PATH TRACKER COUNT` does the same, and prints the text of its files.
//! - `strewn-old-child read PATH TRACKER` says `old COUNT`, or `refused KIND TEXT`, or `WRONG TEXT`.

use anyhow::{Context, bail};
use std::path::Path;
use strewn::{Heap, PBox, PString, PVec, Persist, TrackerKind};
use strewn_tests::files::Snapshot;
use strewn_tests::{golden, memory::mix, trackers::options};

#[derive(Persist)]
struct Item<'s> {
    name: PString<'s>,
    grams: u32,
}

#[derive(Persist)]
struct Stock<'s> {
    items: PVec<'s, Item<'s>>,
    grams: u64,
    heaviest: Option<PBox<'s, Item<'s>>>,
}

fn name(i: usize) -> String {
    format!("item {i}")
}

fn grams(i: usize) -> u32 {
    mix(7, i as u64) as u32 >> 4
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, path, tracker, rest @ ..] = &arguments[..] else { bail!("usage: VERB PATH TRACKER [COUNT]") };
    let (path, tracker) = (Path::new(path), tracker.parse()?);
    match &verb[..] {
        "make" => make(path, tracker, rest.first().context("COUNT")?.parse()?)?,
        "golden" => {
            make(path, tracker, rest.first().context("COUNT")?.parse()?)?;
            print!("{}", golden::to_text(&Snapshot::take(path)));
        }
        "read" => read(path, tracker)?,
        _ => bail!("unknown verb {verb}"),
    }
    Ok(())
}

fn make(path: &Path, tracker: TrackerKind, count: usize) -> anyhow::Result<()> {
    let heap = options(tracker, 64 << 10).seed(3).create(path)?;
    let root =
        heap.root::<Stock>("stock", |section| Ok(Stock { items: PVec::new_in(section), grams: 0, heaviest: None }))?;
    let section = heap.enter();
    let mut stock = root.write(&section)?;
    for i in 0..count {
        stock.items.push(Item { name: PString::from_str_in(&name(i), &section), grams: grams(i) });
        stock.grams += u64::from(grams(i));
    }
    let heaviest = (0..count).max_by_key(|i| grams(*i));
    stock.heaviest = heaviest
        .map(|i| PBox::new_in(Item { name: PString::from_str_in(&name(i), &section), grams: grams(i) }, &section));
    drop(stock);
    drop(section);
    heap.checkpoint()?;
    Ok(())
}

fn read(path: &Path, tracker: TrackerKind) -> anyhow::Result<()> {
    let heap = Heap::options().tracker(tracker).verify(true).open(path)?;
    heap.check();
    let root = match heap.find_root::<Stock>("stock") {
        Ok(root) => root.context("no root")?,
        Err(e) => {
            println!("refused {:?} {e}", e.kind());
            return Ok(());
        }
    };
    let section = heap.enter();
    let stock = root.read(&section)?;
    let count = stock.items.len();
    let right = stock.items.iter().enumerate().all(|(i, item)| item.name == name(i) && item.grams == grams(i));
    let heaviest = stock.heaviest.as_ref().map(|item| item.grams);
    let sums =
        stock.grams == (0..count).map(|i| u64::from(grams(i))).sum::<u64>() && heaviest == (0..count).map(grams).max();
    // The root, the array, each name; the box and its name.
    let live = heap.stats()?.live_objects == 2 + count as u64 + 2;
    if right && sums && live {
        println!("old {count}");
    } else {
        println!("WRONG items {right}, sums {sums}, live objects {live}");
    }
    Ok(())
}
