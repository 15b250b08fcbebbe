//! The input as records in the log of a sound heap, with sound headers and checksums.
//!
//! Each record is a length of 15 bits, a bit that starts the second segment, and its payload.

use super::memory::{Files, Memory};
use super::repair::seal;
use super::{Input, examine};
use crate::sim::Coins;
use crate::store_model::{Model, OPTIONS};
use std::path::Path;
use std::sync::OnceLock;
use strewn::testing::format::{
    FORMAT_VERSION, RECORD_MAGIC, RecordHeader, SEGMENT_MAGIC, SegmentHeader, names, record_bytes,
};
use strewn::testing::{Epoch, LogStore};

const NEXT_SEGMENT: u16 = 0x8000;
/// Records in the base's image, and its seed: it has zones of slots and one of runs.
const BASE: (u64, u64) = (12, 5);

/// A closed heap, and the model of it.
fn base() -> &'static (Files, Model) {
    static BASE_MADE: OnceLock<(Files, Model)> = OnceLock::new();
    BASE_MADE.get_or_init(|| {
        let place = Memory::default();
        let mut store = LogStore::create(&place, Path::new("/fuzz.heap"), &OPTIONS).expect("create in memory");
        let (mut model, mut coins) = (Model::default(), Coins::new(BASE.1));
        for epoch in 1..=BASE.0 {
            store.append(Epoch(epoch), &mut model.change(&mut coins)).expect("append in memory");
        }
        store.close().expect("close in memory");
        (place.files(), model)
    })
}

/// A log to which records are added.
struct Chain {
    bytes: Vec<u8>,
    generation: u64,
    epoch: u64,
    crc: u32,
}

impl Chain {
    fn of(bytes: Vec<u8>) -> Self {
        let header = SegmentHeader::decode(&bytes);
        Self { bytes, generation: header.generation, epoch: header.prev_epoch, crc: header.crc }
    }

    fn next(&self) -> Self {
        let mut bytes = vec![0; SegmentHeader::BYTES];
        let generation = self.generation + 1;
        let mut header = SegmentHeader { magic: SEGMENT_MAGIC, version: FORMAT_VERSION, ..SegmentHeader::default() };
        (header.heap_id, header.generation) = (OPTIONS.heap_id, generation);
        (header.prev_epoch, header.prev_crc) = (self.epoch, self.crc);
        header.encode(&mut bytes);
        let crc = seal(&mut bytes, &OPTIONS.heap_id);
        Self { bytes, generation, epoch: self.epoch, crc }
    }

    fn push(&mut self, payload: &[u8]) {
        let mut header = RecordHeader { magic: RECORD_MAGIC, generation: self.generation, ..RecordHeader::default() };
        (header.prev_epoch, header.epoch, header.prev_crc) = (self.epoch, self.epoch + 1, self.crc);
        (header.payload_len, header.payload_crc) = (payload.len() as u64, crc32c::crc32c(payload));
        let start = self.bytes.len();
        self.bytes.resize(start + record_bytes(payload.len()), 0);
        header.encode(&mut self.bytes[start..]);
        self.crc = seal(&mut self.bytes[start..start + RecordHeader::BYTES], &OPTIONS.heap_id);
        self.bytes[start + RecordHeader::BYTES..][..payload.len()].copy_from_slice(payload);
        self.epoch += 1;
    }
}

/// The files that an input stands for.
pub fn files(data: &[u8]) -> Files {
    let (mut files, mut input) = (base().0.clone(), Input(data));
    let active = |name: &&str| files[*name].len() >= SegmentHeader::BYTES;
    let name = names::LOGS.into_iter().find(active).expect("a closed heap has one segment");
    let mut chain = Chain::of(files[name].clone());
    let mut sealed = None;
    while !input.is_over() {
        let len = input.short();
        if len & NEXT_SEGMENT != 0 && sealed.is_none() {
            let next = chain.next();
            sealed = Some(std::mem::replace(&mut chain, next));
        }
        chain.push(input.take(usize::from(len & !NEXT_SEGMENT)));
    }
    for segment in sealed.into_iter().chain([chain]) {
        files.insert(names::LOGS[(segment.generation % 2) as usize].to_owned(), segment.bytes);
    }
    files
}

/// How many zones the base has: the index of the next one.
pub fn base_zones() -> u8 {
    u8::try_from(base().1.zones.len()).expect("a few zones")
}

/// The input of these payloads, all in one segment.
pub fn input(payloads: &[Vec<u8>]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| [&(payload.len() as u16).to_le_bytes()[..], payload].concat()).collect()
}

/// Examines them.
pub fn run(data: &[u8]) {
    examine::examine(&files(data));
}

/// Records that the model makes: sound ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |seed: u64| {
        let (mut model, mut coins, mut input) = (base().1.clone(), Coins::new(seed), Vec::new());
        for i in 0..4 {
            let record = model.change(&mut coins);
            let segment = if i == 2 && seed % 2 == 1 { NEXT_SEGMENT } else { 0 };
            input.extend((record.payload_len() as u16 | segment).to_le_bytes());
            input.extend_from_slice(record.payload());
        }
        input
    };
    // Contents are most of a record: the smaller ones say as much.
    let mut seeds: Vec<Vec<u8>> = (0..300).map(seed).filter(|input| input.len() < 9000).collect();
    seeds.truncate(12);
    seeds
}
