//! Opens files that may hold anything, and looks at what comes of it.
//!
//! 1. They are refused as damaged, or delivered; within the budget, and without a change to them.
//! 2. `check` says the same, but for roots, and zones that this build does not map, which only it and the engine look at.
//! 3. What is delivered is delivered again, with the same contents; can be added to, folded and closed; and is there when it is opened again.
//!
//! Memory: 64 bytes for each byte of the files, a MiB, and, for each frame of a zone of slots up to the highest that the log names, its tables.

use super::budget::within;
use super::memory::{Files, Memory};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use strewn::ErrorKind;
use strewn::testing::format::{RecordHeader, SegmentHeader, names, record_bytes};
use strewn::testing::{self, Catalog, Epoch, Item, Items, LogStore, RecordBuilder};

const BYTES_A_BYTE: usize = 64;
const BYTES_FIXED: usize = 1 << 20;
/// A bitmap of 32 bytes, in the catalog of the image, that of the log's end, its copy, that of a fold, and in what both segments have changed.
const BYTES_A_FRAME: usize = 6 * 36;
/// Time grows with the files beyond this many bytes.
const BYTES_A_SECOND: usize = 1 << 20;
/// Larger heaps are only read: writing takes disk for each page up to the highest.
const FRAMES_WRITTEN_MAX: u32 = 4096;

/// Frames up to the highest in each zone, according to the log, sound or not.
fn frames_in_logs(files: &Files) -> usize {
    let mut highest: BTreeMap<u16, usize> = BTreeMap::new();
    for bytes in names::LOGS.iter().filter_map(|name| files.get(*name)) {
        let mut at = SegmentHeader::BYTES;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= RecordHeader::BYTES) {
            let len = RecordHeader::decode(rest).payload_len;
            let Some(payload) = usize::try_from(len).ok().and_then(|len| rest[RecordHeader::BYTES..].get(..len)) else {
                break;
            };
            for (_, item) in Items::new(payload).flatten() {
                if let Item::Frame { zone, frame, .. } = item {
                    let highest = highest.entry(zone.0).or_default();
                    *highest = (*highest).max(frame.0 as usize + 1);
                }
            }
            at += record_bytes(payload.len());
        }
    }
    highest.values().sum()
}

/// The heap's last state: epoch, catalog and a checksum of everything that is delivered.
type State = (Epoch, Catalog, u32);

fn read(place: &Memory) -> strewn::Result<(LogStore, State)> {
    let (mut store, recovered) = LogStore::open(place, Path::new("/fuzz.heap"))?;
    let mut sum = 0;
    let loaded = store.load(&mut |zone, byte, bytes| {
        sum = crc32c::crc32c_append(sum, &zone.0.to_le_bytes());
        sum = crc32c::crc32c_append(sum, &byte.to_le_bytes());
        sum = crc32c::crc32c_append(sum, bytes);
        Ok(())
    });
    match loaded {
        // The first write, after everything was read.
        Err(error) if error.raw_os_error() == Some(libc::EROFS) => {}
        other => other?,
    }
    Ok((store, (recovered.epoch, recovered.catalog, sum)))
}

/// What is allocated: all but the checksums, which a fold changes.
fn allocated(catalog: &Catalog) -> impl PartialEq + std::fmt::Debug {
    let zones = catalog
        .zones
        .iter()
        .map(|zone| (zone.number, zone.kind, zone.frames, zone.allocated.clone(), zone.runs.clone()));
    (zones.collect::<Vec<_>>(), catalog.roots.clone())
}

/// Examines the files. Whether they were opened.
///
/// # Panics
/// If anything comes out other than it must.
pub fn examine(files: &Files) -> bool {
    let bytes: usize = files.values().map(Vec::len).sum();
    let memory = BYTES_A_BYTE * bytes + BYTES_FIXED + BYTES_A_FRAME * frames_in_logs(files);
    let time = Duration::from_secs(1 + (bytes / BYTES_A_SECOND) as u64);
    let place = Memory::with(files).read_only();
    let outcome = within(memory, time, || read(&place));
    let checked = within(memory, time, || testing::check(&place, Path::new("/fuzz.heap")));
    match (&outcome, &checked) {
        (Ok(_), Err(error)) => {
            let engines = error.to_string().contains("root `") || error.kind() == ErrorKind::UnsupportedVersion;
            assert!(engines, "opened, but: {error}");
        }
        (Err(error), Ok(report)) => panic!("{report:?}, but when it is opened: {error}"),
        _ => {}
    }
    assert!(place.files() == *files, "a read-only storage was changed");
    match outcome {
        Ok((store, state)) => {
            drop(store);
            if state.1.zones.iter().all(|zone| zone.frames <= FRAMES_WRITTEN_MAX) {
                use_further(files, &state);
            }
            true
        }
        Err(error) => {
            let damaged = [ErrorKind::Corrupt, ErrorKind::NotAHeap, ErrorKind::UnsupportedVersion];
            assert!(damaged.contains(&error.kind()), "{:?}: {error}", error.kind());
            assert!(error.to_string().contains("/fuzz.heap"), "the message names no file: {error}");
            false
        }
    }
}

fn use_further(files: &Files, state: &State) {
    let place = Memory::with(files);
    let (mut store, again) = read(&place).expect("it was read a moment ago");
    assert!(again == *state, "other contents when read again");
    let next = Epoch(state.0.0 + 1);
    let appended = store.append(next, &mut RecordBuilder::new(Vec::new()).finish());
    // A fold reads what it changes once more, and may run out of room: some zones lie far apart.
    let closed = appended.and_then(|_| store.close());
    match &closed {
        Err(error) if error.kind() == ErrorKind::StorageFull => return,
        other => assert!(other.is_ok(), "accepted, but not to be folded: {other:?}"),
    }
    let (_, later) = read(&place).expect("what was closed opens again");
    assert_eq!(later.0, next, "the epoch after closing");
    assert!(allocated(&later.1) == allocated(&state.1), "what is allocated changed when it was closed");
}
