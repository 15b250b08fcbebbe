//! The parts of the example `codeindex`, each with damage done on purpose that its checks must catch.

#![allow(dead_code, reason = "the example's modules are used in part")]

#[path = "../codeindex/audit.rs"]
mod audit;
#[path = "../codeindex/hash.rs"]
mod hash;
#[path = "../codeindex/index.rs"]
mod index;
#[path = "../codeindex/crash/ledger.rs"]
mod ledger;
#[path = "../codeindex/postings.rs"]
mod postings;
#[path = "../codeindex/segments.rs"]
mod segments;
#[path = "../codeindex/table.rs"]
mod table;
#[path = "../codeindex/tokenize.rs"]
mod tokenize;

use index::{Contents, Index};
use ledger::{Ledger, Message, State};
use postings::Posting;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use strewn::{Heap, Section};
use tempfile::TempDir;
use tokenize::{query_words, words_of};

/// Runs `body` on an empty index.
fn with_index(body: impl for<'s> FnOnce(&mut Index<'s>, &'s Section<'_>)) {
    let dir = TempDir::new().unwrap();
    let heap = Heap::create(dir.path().join("t.heap")).unwrap();
    let root = heap.root::<Index>("index", |section| Ok(Index::new_in(section))).unwrap();
    let section = heap.enter();
    body(&mut root.write(&section).unwrap(), &section);
}

fn put<'s>(index: &mut Index<'s>, path: &str, text: &str, section: &'s Section<'_>) {
    let words = words_of(text.as_bytes()).unwrap();
    let contents = Contents { path: path.as_bytes(), mtime_ns: 7, size_bytes: text.len() as u64, words: &words };
    index.put(&contents, section).unwrap();
}

/// That an audit finds what `damage` does to a sound index.
#[track_caller]
fn assert_caught(invariant: &str, damage: impl for<'s> FnOnce(&mut Index<'s>, &'s Section<'_>)) {
    with_index(|index, section| {
        put(index, "a", "one two two three", section);
        put(index, "b", "two four", section);
        index.audit().unwrap();
        damage(index, section);
        let e = index.audit().unwrap_err().to_string();
        assert!(e.starts_with(invariant), "`{e}` is not about {invariant}");
    });
}

#[test]
fn an_audit_catches_damage() {
    let two = |index: &Index<'_>| index.words.find(b"two").unwrap();
    let a = |index: &Index<'_>| index.files.find(b"a").unwrap();
    assert_caught("X1", |index, _| index.words.node_mut(two(index)).value.swap_remove(0).unwrap());
    assert_caught("X1", |index, s| {
        let twice = Posting { file: a(index), count: 1 };
        // Next to the other one for the file.
        index.words.node_mut(two(index)).value.push(twice, s).unwrap();
    });
    assert_caught("X1", |index, s| {
        index.words.node_mut(two(index)).value.push(Posting { file: 77, count: 1 }, s).unwrap();
    });
    assert_caught("X1", |index, _| {
        let four = index.words.find(b"four").unwrap();
        index.files.node_mut(a(index)).value.words.as_mut_slice()[0] = four;
    });
    assert_caught("X2", |index, s| {
        index.words.insert(b"orphan", postings::Postings::new_in(s), s).unwrap();
    });
    assert_caught("X3", |index, _| index.words.node_mut(two(index)).value.get_mut(0).count += 1);
    assert_caught("X3", |index, _| index.tokens += 1);
    assert_caught("X4", |index, _| index.files.node_mut(a(index)).value.mtime_ns += 1);
    assert_caught("X4", |index, _| index.digest ^= 1);
}

#[test]
fn random_changes_keep_the_invariants_and_leak_nothing() {
    let mut rng = SmallRng::seed_from_u64(11);
    with_index(|index, section| {
        for step in 0..600 {
            let path = format!("file {}", rng.random_range(0..60));
            match index.files.find(path.as_bytes()) {
                Some(number) if rng.random_bool(0.4) => index.remove(number).unwrap(),
                _ => {
                    let words: Vec<String> =
                        (0..rng.random_range(0..80)).map(|_| format!("w{}", rng.random_range(0..150))).collect();
                    put(index, &path, &words.join(" "), section);
                }
            }
            if step % 20 == 0 {
                let audit = index.audit().unwrap_or_else(|e| panic!("step {step}: {e}"));
                assert_eq!(audit.generation, step + 1);
            }
        }
        for number in 0..index.files.numbers() {
            if index.files.get(number).is_some() {
                index.remove(number).unwrap();
            }
        }
        let empty = index.audit().unwrap();
        assert_eq!((empty.digest, empty.files, empty.words, index.tokens), (0, 0, 0, 0));
    });
}

#[test]
fn the_objects_counted_are_those_of_the_heap() {
    let dir = TempDir::new().unwrap();
    let heap = Heap::create(dir.path().join("t.heap")).unwrap();
    let root = heap.root::<Index>("index", |section| Ok(Index::new_in(section))).unwrap();
    let objects = {
        let section = heap.enter();
        let mut index = root.write(&section).unwrap();
        (0..100).for_each(|n| put(&mut index, &format!("f{n}"), &format!("word{n} common rare{}", n / 7), &section));
        (0..50).for_each(|n| index.remove(2 * n).unwrap());
        index.audit().unwrap().objects
    };
    heap.checkpoint().unwrap();
    assert_eq!(heap.stats().unwrap().live_objects, objects);
}

#[test]
fn words_are_identifiers_and_their_parts() {
    let words = |text: &str| {
        let mut words: Vec<String> = words_of(text.as_bytes()).unwrap().into_iter().map(|(w, _)| w.into()).collect();
        words.sort();
        words
    };
    assert_eq!(words("page_table"), ["page", "page_table", "table"]);
    assert_eq!(words("__PageTable2"), ["page", "pagetable2", "table2"]);
    assert_eq!(words("HTTPServer x"), ["http", "httpserver", "server"]);
    assert_eq!(words("READ_ONLY"), ["only", "read", "read_only"]);
    assert_eq!(words("0xff 12 u8 café ÄÖ"), ["café", "u8", "äö"]);
    assert_eq!(words(&"x".repeat(41)), Vec::<String>::new());
    let mut counts = words_of(b"the cat The").unwrap();
    counts.sort();
    assert_eq!(counts, [("cat".into(), 1), ("the".into(), 2)]);
    assert_eq!(words_of(b"a\0b"), None);
    assert_eq!(query_words("PageTable::walk"), ["pagetable", "walk"]);
}

/// A ledger that knows generations 1 to 3, of which 2 is durable.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for line in ["opened 0 0", "made 1 10", "made 2 20", "durable 2", "made 3 30"] {
        ledger.note(Message::parse(line).unwrap()).unwrap();
    }
    ledger
}

#[track_caller]
fn assert_judged(ledger: &Ledger, generation: u64, digest: u64, verdict: &str) {
    let judged = ledger.clone().judge(State { generation, digest });
    let said = judged.map_or_else(|e| e.to_string(), |()| "fine".into());
    assert!(said.starts_with(verdict), "({generation}, {digest}) was judged `{said}`, not {verdict}");
}

#[test]
fn a_ledger_accepts_what_a_checkpoint_can_have_and_nothing_else() {
    assert_judged(&ledger(), 2, 20, "fine");
    assert_judged(&ledger(), 3, 30, "fine");
    assert_judged(&ledger(), 1, 10, "LOST");
    assert_judged(&ledger(), 0, 0, "LOST");
    assert_judged(&ledger(), 4, 40, "INVENTED");
    assert_judged(&ledger(), 3, 20, "TORN");
    let mut doctored = ledger();
    doctored.doctor_digests();
    assert_judged(&doctored, 3, 30, "TORN");
    let mut doctored = ledger();
    doctored.doctor_durable();
    assert_judged(&doctored, 3, 30, "LOST");
}

#[test]
fn a_ledger_forgets_what_a_crash_undid() {
    let mut ledger = ledger();
    ledger.judge(State { generation: 2, digest: 20 }).unwrap();
    assert_judged(&ledger, 3, 30, "INVENTED");
    ledger.note(Message::Opened(State { generation: 2, digest: 20 })).unwrap();
    ledger.note(Message::Made(State { generation: 3, digest: 31 })).unwrap();
    assert_judged(&ledger, 3, 31, "fine");
    assert!(ledger.note(Message::Made(State { generation: 5, digest: 0 })).is_err(), "a generation is missing");
    assert!(ledger.note(Message::Durable(9)).is_err(), "durable before it was made");
    assert!(ledger.note(Message::Opened(State { generation: 2, digest: 21 })).is_err(), "the child has another state");
}

#[test]
fn messages_survive_the_pipe() {
    let state = State { generation: 5, digest: u64::MAX };
    for message in [Message::Opened(state), Message::Made(state), Message::Durable(5)] {
        assert_eq!(Message::parse(&message.to_string()).unwrap(), message);
    }
    for garbled in ["", "made", "made 5", "durable x", "dead 1"] {
        Message::parse(garbled).unwrap_err();
    }
}
