//! A newer program, which knows the types of `old.rs` as its own first version: opens a heap, and brings it from there to the third version.
//!
//! `strewn-new-child PATH TRACKER STOP` says `opened`; then `migrated STEPS`, if all is right, with the number of values that were migrated; then it makes a checkpoint, says
//! `durable`, and `new COUNT`. Or it says `refused KIND TEXT`, or `panicked`, and then what kind of error a checkpoint returns. Or `WRONG TEXT`.
//!
//! `STOP` is `-`; or a place to stop at, to say `at`, and to wait to be killed: `park:migrated`, `park:durable`, or `park:VERSION:ITEM`, in the migration from that version, after
//! that many items; or `fail:VERSION:ITEM`, `panic:VERSION:ITEM`.

use anyhow::{Context, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use strewn::{Error, ErrorKind, Heap, Migrate, PBox, PHashMap, PString, PVec, Persist, Result, Section};
use strewn_tests::memory::mix;

#[derive(Persist)]
#[persist(name = "Item")]
struct ItemV1<'s> {
    name: PString<'s>,
    grams: u32,
}

#[derive(Persist)]
#[persist(name = "Stock")]
struct StockV1<'s> {
    items: PVec<'s, ItemV1<'s>>,
    grams: u64,
    heaviest: Option<PBox<'s, ItemV1<'s>>>,
}

/// Weighs in milligrams.
#[derive(Persist)]
#[persist(name = "Item", version = 2)]
struct ItemV2<'s> {
    milligrams: u64,
    name: PString<'s>,
}

#[derive(Persist)]
#[persist(name = "Stock", version = 2, from = StockV1<'s>)]
struct StockV2<'s> {
    items: PVec<'s, ItemV2<'s>>,
    milligrams: u64,
}

/// Is made of parts.
#[derive(Persist)]
#[persist(version = 3)]
struct Item<'s> {
    milligrams: u64,
    parts: PVec<'s, u64>,
}

/// Finds items by name.
#[derive(Persist)]
#[persist(version = 3, from = StockV2<'s>)]
struct Stock<'s> {
    items: PHashMap<'s, PString<'s>, Item<'s>>,
    milligrams: u64,
}

static STOP: OnceLock<String> = OnceLock::new();
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Stops here, if this is the place.
fn stop(place: &str) -> Result<()> {
    let (how, at) = STOP.get().and_then(|stop| stop.split_once(':')).unwrap_or_default();
    match (how, at == place) {
        ("park", true) => {
            println!("at");
            loop {
                std::thread::park();
            }
        }
        ("fail", true) => Err(Error::new(ErrorKind::InvalidArgument, format!("failed at {place}"))),
        ("panic", true) => panic!("panicked at {place}"),
        _ => Ok(()),
    }
}

impl<'s> Migrate<'s, StockV1<'s>> for StockV2<'s> {
    fn migrate(old: StockV1<'s>, section: &'s Section<'_>) -> Result<Self> {
        STEPS.fetch_add(1, Ordering::Relaxed);
        let heaviest = old.heaviest.as_ref().map(|item| item.grams);
        if heaviest != old.items.iter().map(|item| item.grams).max() {
            return Err(Error::new(ErrorKind::Corrupt, "another item is the heaviest"));
        }
        let mut items = PVec::try_with_capacity_in(old.items.len(), section)?;
        for (i, item) in old.items.into_iter().enumerate() {
            stop(&format!("1:{i}"))?;
            items.try_push(ItemV2 { milligrams: u64::from(item.grams) * 1000, name: item.name })?;
        }
        Ok(Self { items, milligrams: old.grams * 1000 })
    }
}

impl<'s> Migrate<'s, StockV2<'s>> for Stock<'s> {
    fn migrate(old: StockV2<'s>, section: &'s Section<'_>) -> Result<Self> {
        STEPS.fetch_add(1, Ordering::Relaxed);
        let mut items = PHashMap::new_in(section);
        for (i, ItemV2 { milligrams, name }) in old.items.into_iter().enumerate() {
            stop(&format!("2:{i}"))?;
            let mut parts = PVec::new_in(section);
            parts.try_extend_from_slice(&[milligrams / 2, milligrams - milligrams / 2])?;
            items.try_insert(name, Item { milligrams, parts })?;
        }
        Ok(Self { items, milligrams: old.milligrams })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, tracker, place] = &arguments[..] else { bail!("usage: PATH TRACKER STOP") };
    STOP.set(place.clone()).ok().context("set once")?;
    let heap = Heap::options().tracker(tracker.parse()?).verify(true).open(Path::new(path))?;
    println!("opened");
    match catch_unwind(AssertUnwindSafe(|| heap.find_root::<Stock>("stock").map(|root| root.is_some()))) {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => bail!("no root"),
        Ok(Err(e)) => return refused(&heap, &format!("refused {:?} {e}", e.kind())),
        Err(_) => return refused(&heap, "panicked"),
    }
    if let Err(what) = verify(&heap)? {
        println!("WRONG {what}");
        return Ok(());
    }
    println!("migrated {}", STEPS.load(Ordering::Relaxed));
    stop("migrated")?;
    heap.checkpoint()?;
    println!("durable");
    stop("durable")?;
    heap.check();
    let live = heap.stats()?.live_objects;
    let count = count(&heap)?;
    // The root, the table, the names, and the parts.
    if live == 2 + 2 * count {
        println!("new {count}")
    } else {
        println!("WRONG {live} live objects of {count} items")
    }
    Ok(())
}

/// What is half done must not be checkpointed.
fn refused(heap: &Heap, what: &str) -> anyhow::Result<()> {
    println!("{what}");
    match heap.checkpoint() {
        Ok(_) => println!("WRONG a checkpoint was made"),
        Err(e) => println!("{:?}", e.kind()),
    }
    Ok(())
}

fn count(heap: &Heap) -> Result<u64> {
    let section = heap.enter();
    let root = heap.find_root::<Stock>("stock")?.expect("found before");
    Ok(root.read(&section)?.items.len() as u64)
}

/// Compares all contents with what the older program puts into a heap.
fn verify(heap: &Heap) -> Result<std::result::Result<(), String>> {
    let section = heap.enter();
    let root = heap.find_root::<Stock>("stock")?.expect("found before");
    let stock = root.read(&section)?;
    let mut sum = 0;
    for i in 0..stock.items.len() {
        let milligrams = u64::from(mix(7, i as u64) as u32 >> 4) * 1000;
        sum += milligrams;
        let item = stock.items.get(format!("item {i}").as_str());
        if !item.is_some_and(|item| item.milligrams == milligrams && item.parts.iter().sum::<u64>() == milligrams) {
            return Ok(Err(format!("item {i} of {}", stock.items.len())));
        }
    }
    Ok(if stock.milligrams == sum { Ok(()) } else { Err(format!("{} milligrams, not {sum}", stock.milligrams)) })
}
