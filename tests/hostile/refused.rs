//! Heaps that cannot be opened, and what the error says.

use crate::{CHILD, make_specimen, refused};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use strewn::{ErrorKind, Heap, TrackerKind};
use strewn_tests::memory::object;
use strewn_tests::process::{alone, skip, stdout_of};
use strewn_tests::specimen;
use strewn_tests::trackers::{any_tracker, options, trackers};

const ZONE_BYTES: usize = 1 << 39;

#[test]
fn what_is_no_heap_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let tracker = any_tracker();
    refused(&path("nothing.heap"), tracker, ErrorKind::NotFound, &[]);
    refused(&path("nowhere/nothing.heap"), tracker, ErrorKind::NotFound, &[]);
    std::fs::create_dir(path("empty.heap")).unwrap();
    refused(&path("empty.heap"), tracker, ErrorKind::NotAHeap, &[]);
    std::fs::write(path("file.heap"), b"a file").unwrap();
    refused(&path("file.heap"), tracker, ErrorKind::NotAHeap, &[]);
    std::fs::create_dir(path("other.heap")).unwrap();
    std::fs::write(path("other.heap/lib.rs"), b"fn main() {}").unwrap();
    refused(&path("other.heap"), tracker, ErrorKind::NotAHeap, &[]);
    for (name, bytes) in [("zeros.heap", vec![0; 8192]), ("text.heap", b"superb".repeat(2000)), ("short.heap", vec![])]
    {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(path(name).join("superblock"), bytes).unwrap();
        refused(&path(name), tracker, ErrorKind::NotAHeap, &["superblock"]);
    }
    std::fs::create_dir_all(path("dir.heap/superblock")).unwrap();
    let error = Heap::options().tracker(tracker).open(path("dir.heap")).err().unwrap();
    assert!(error.to_string().contains("dir.heap/superblock"), "{error}");
}

#[test]
fn create_refuses_what_is_there() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twice.heap");
    make_specimen(&path, any_tracker(), 4096, 1, true);
    std::fs::write(dir.path().join("file.heap"), b"a file").unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link.heap")).unwrap();
    for name in ["twice.heap", "file.heap", "link.heap"] {
        let error = options(any_tracker(), 4096).create(dir.path().join(name)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(specimen::open_and_verify(&path, any_tracker()), Ok(1));
    let error = options(any_tracker(), 4096).create(dir.path().join("nowhere/new.heap")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

/// Changes a number in both copies of the superblock, with the right checksum.
fn patch_superblock(path: &Path, at: u64, value: u32) {
    const COPY: usize = 4096;
    let file = std::fs::File::options().read(true).write(true).open(path.join("superblock")).unwrap();
    for copy in [0, COPY as u64] {
        let mut bytes = [0; COPY];
        file.read_exact_at(&mut bytes, copy).unwrap();
        bytes[at as usize..][..4].copy_from_slice(&value.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..COPY - 4]);
        bytes[COPY - 4..].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&bytes, copy).unwrap();
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("newer.heap");
    make_specimen(&path, any_tracker(), 4096, 1, true);
    patch_superblock(&path, 8, 77);
    refused(&path, any_tracker(), ErrorKind::UnsupportedVersion, &["version 77", "version 1"]);
    patch_superblock(&path, 8, 1);
    patch_superblock(&path, 12, 0x40);
    refused(&path, any_tracker(), ErrorKind::UnsupportedVersion, &["0x40"]);
    patch_superblock(&path, 12, 0);
    assert_eq!(specimen::open_and_verify(&path, any_tracker()), Ok(1));
}

#[test]
fn a_taken_address_is_refused_and_the_mapping_named() {
    let _alone = alone();
    for tracker in trackers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("address.heap");
        let heap = options(tracker, 4096).create(&path).unwrap();
        let root = heap.root::<u64>("here", |_| Ok(7)).unwrap();
        let section = heap.enter();
        let addr = std::ptr::from_ref::<u64>(&root.read(&section).unwrap()).addr() & !(ZONE_BYTES - 1);
        drop(section);
        heap.close().unwrap();
        let (ours, fixed) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, libc::MAP_FIXED_NOREPLACE);
        let place = std::ptr::without_provenance_mut(addr + ZONE_BYTES / 2);
        // SAFETY: replaces no mapping, and nobody uses the memory.
        let map = unsafe { libc::mmap(place, 1 << 20, libc::PROT_READ, ours | fixed, -1, 0) };
        assert_eq!(map, place);
        let (zone, taken) = (format!("{addr:#x}"), format!("{:x}-", addr + ZONE_BYTES / 2));
        refused(&path, tracker, ErrorKind::AddressInUse, &[&zone, &taken]);
        // SAFETY: the mapping made above.
        assert_eq!(unsafe { libc::munmap(map, 1 << 20) }, 0);
        let heap = Heap::options().tracker(tracker).open(&path).unwrap();
        let root = heap.find_root::<u64>("here").unwrap().unwrap();
        assert_eq!(*root.read(&heap.enter()).unwrap(), 7);
    }
}

/// A copy of a heap wants the same addresses.
#[test]
fn a_copy_of_an_open_heap_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let [path, copy] = ["one.heap", "copy.heap"].map(|name| dir.path().join(name));
    make_specimen(&path, any_tracker(), 4096, 1, true);
    strewn_tests::files::Snapshot::take(&path).restore(&copy);
    let heap = Heap::options().tracker(any_tracker()).open(&path).unwrap();
    refused(&copy, any_tracker(), ErrorKind::AddressInUse, &["memfd:strewn"]);
    drop(heap);
    assert_eq!(specimen::open_and_verify(&copy, any_tracker()), Ok(1));
}

#[test]
fn a_second_opener_is_refused_and_the_first_named() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locked.heap");
    let tracker = any_tracker();
    make_specimen(&path, tracker, 4096, 2, true);
    let heap = Heap::options().tracker(tracker).open(&path).unwrap();
    refused(&path, tracker, ErrorKind::Locked, &["this process"]);
    let other_name = dir.path().join("link.heap");
    std::os::unix::fs::symlink(&path, &other_name).unwrap();
    refused(&other_name, tracker, ErrorKind::Locked, &[]);
    let mut child = Command::new(CHILD);
    let said = stdout_of(child.arg("open").arg(&path).arg(tracker.to_string()));
    let me = format!("process {}", std::process::id());
    assert!(said.starts_with("Locked") && said.contains(&me), "{said}");
    specimen::grow(&heap).unwrap();
    heap.close().unwrap();
    std::fs::remove_file(other_name).unwrap();

    let mut command = Command::new(CHILD);
    command.arg("hold").arg(&path).arg(tracker.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    refused(&path, tracker, ErrorKind::Locked, &[&format!("process {}", holder.id())]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(specimen::open_and_verify(&path, tracker), Ok(3));
}

#[test]
fn a_tracker_that_cannot_serve_a_heap_is_refused() {
    let _alone = alone();
    if trackers().len() < 3 {
        return skip("a heap and a tracker that do not fit: there is only one tracker");
    }
    let dir = tempfile::tempdir().unwrap();
    let (lanes, dense) = (dir.path().join("lanes.heap"), dir.path().join("dense.heap"));
    make_specimen(&lanes, TrackerKind::Async, 4096, 1, true);
    make_specimen(&dense, TrackerKind::Page, 4096, 1, true);
    refused(&lanes, TrackerKind::Page, ErrorKind::InvalidArgument, &["page"]);
    refused(&dense, TrackerKind::Async, ErrorKind::InvalidArgument, &["async"]);
    refused(&dense, TrackerKind::Signal, ErrorKind::InvalidArgument, &["signal"]);
}

#[test]
fn an_unknown_tracker_in_the_environment_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("environment.heap");
    make_specimen(&path, any_tracker(), 4096, 1, true);
    let open = |name: &str| {
        let mut child = Command::new(CHILD);
        stdout_of(child.env("STREWN_TRACKER", name).arg("open-by-environment").arg(&path).arg("async"))
    };
    let said = open("nonsense");
    assert!(said.starts_with("InvalidArgument") && said.contains("nonsense"), "{said}");
    assert_eq!(open(&any_tracker().to_string()), "OK 1\n");
    assert_eq!(open(""), "OK 1\n");
}

#[test]
fn a_log_that_is_too_small_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for log_bytes in [0, 1, 4095, u64::MAX] {
        let path = dir.path().join("small.heap");
        let error = options(any_tracker(), log_bytes).create(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(&log_bytes.to_string()), "{error}");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "something was left behind");
    }
}

#[test]
fn a_root_of_another_type_is_refused() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.heap");
    let heap = options(any_tracker(), 4096).create(&path).unwrap();
    heap.root::<u64>("number", |_| Ok(7)).unwrap();
    heap.close().unwrap();
    let heap = Heap::options().tracker(any_tracker()).open(&path).unwrap();
    let error = heap.find_root::<i64>("number").err().expect("another type");
    assert_eq!(error.kind(), ErrorKind::RootType, "{error}");
    let text = error.to_string();
    assert!(["`number`", "u64", "i64", "0x"].iter().all(|fact| text.contains(fact)), "{text}");
    assert!(heap.root::<[u8; 8]>("number", |_| panic!("the root exists")).is_err());
    assert!(heap.find_root::<u64>("other").unwrap().is_none());
    let section = heap.enter();
    let foreign = Box::into_raw(Box::new(0u64));
    assert!(!section.owns(object(foreign.expose_provenance() as u64)));
    assert_eq!(section.usable_bytes(object(foreign.expose_provenance() as u64)), None);
    // SAFETY: made by `into_raw` above.
    drop(unsafe { Box::from_raw(foreign) });
}
