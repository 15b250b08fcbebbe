//! The parts of the example `codeindex`, each with damage done on purpose that its checks must catch.

#![forbid(unsafe_code)]
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
#[path = "../codeindex/tokenize.rs"]
mod tokenize;

use index::{Contents, File, Index};
use ledger::{Ledger, Message, State};
use postings::{Posting, Postings};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use strewn::{Heap, PBox, PString, PVec, Section};
use tempfile::TempDir;
use tokenize::{query_words, words_of};

const ROOT: &str = "index";

/// Runs `body` on an empty index, and returns how many objects the heap has then.
fn with_index(body: impl for<'s> FnOnce(&mut Index<'s>, &'s Section<'_>)) -> u64 {
    let dir = TempDir::new().unwrap();
    let heap = Heap::create(dir.path().join("t.heap")).unwrap();
    let root = heap.root::<Index>(ROOT, |section| Ok(Index::new_in(section))).unwrap();
    let section = heap.enter();
    body(&mut root.write(&section).unwrap(), &section);
    drop(section);
    heap.check();
    heap.checkpoint().unwrap();
    heap.stats().unwrap().live_objects
}

fn put<'s>(index: &mut Index<'s>, path: &str, text: &str, section: &'s Section<'_>) {
    let words = words_of(text.as_bytes()).unwrap();
    let contents = Contents { path: path.as_bytes(), mtime_ns: 7, size_bytes: text.len() as u64, words: &words };
    index.put(&contents, section);
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
    fn two<'a, 's>(index: &'a mut Index<'s>) -> &'a mut Postings<'s> {
        index.words.get_mut("two").unwrap()
    }
    fn a<'a, 's>(index: &'a mut Index<'s>) -> &'a mut File<'s> {
        index.files[0].as_mut().unwrap()
    }
    assert_caught("X1", |index, _| two(index).swap_remove(0));
    // Next to the other one for the file.
    assert_caught("X1", |index, s| two(index).push(Posting { file: 0, count: 1 }, s));
    assert_caught("X1", |index, s| two(index).push(Posting { file: 77, count: 1 }, s));
    assert_caught("X1", |index, s| a(index).words = PString::from_str_in("one two four", s));
    assert_caught("X1", |index, s| a(index).words = PString::from_str_in("one two", s));
    assert_caught("X2", |index, s| {
        index.words.insert(PString::from_str_in("orphan", s), PBox::new_in(Postings::new_in(s), s));
    });
    assert_caught("X2", |index, _| two(index).get_mut(0).count = 0);
    assert_caught("X3", |index, _| two(index).get_mut(0).count += 1);
    assert_caught("X3", |index, _| index.tokens += 1);
    assert_caught("X4", |index, _| a(index).mtime_ns += 1);
    assert_caught("X4", |index, _| index.digest ^= 1);
    assert_caught("X5", |index, _| *index.numbers.get_mut(&b"a"[..]).unwrap() = 1);
    assert_caught("X5", |index, s| {
        index.numbers.insert(PVec::from_slice_in(b"c", s), 1);
    });
}

#[test]
fn random_changes_keep_the_invariants_and_leak_nothing() {
    let mut rng = SmallRng::seed_from_u64(11);
    let objects = with_index(|index, section| {
        for step in 0..600 {
            let path = format!("file {}", rng.random_range(0..60));
            match index.numbers.get(path.as_bytes()).copied() {
                Some(number) if rng.random_bool(0.4) => index.remove(number),
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
        let numbers: Vec<u32> = index.numbers.values().copied().collect();
        numbers.into_iter().for_each(|number| index.remove(number));
        let empty = index.audit().unwrap();
        assert_eq!((empty.digest, empty.files, empty.words, index.tokens), (0, 0, 0, 0));
        assert!(index.files.len() <= 60, "numbers are used again");
    });
    assert_eq!(objects, 4, "the root, the array of files, and a node of each tree are left");
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
