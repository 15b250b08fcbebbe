//! A full disk: a small file system of the test's own.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::path::Path;
use strewn::{ErrorKind, Heap, TrackerKind};
use strewn_tests::memory::{object, pattern, read, write};
use strewn_tests::process::{alone, is_root, skip};
use strewn_tests::trackers::{options, trackers};

const DISK: &str = "size=3m,mode=0700";
const BALLAST: usize = 1 << 20;

/// A mounted tmpfs; unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None`, with a line that says why, if this process may not mount.
    fn mount() -> Option<Self> {
        if !is_root() {
            skip("a full disk: mounting a small tmpfs takes root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        match mount(Some("strewn-test"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(DISK)) {
            Ok(()) => Some(Self { dir }),
            Err(e) => {
                skip(&format!("a full disk: mount: {e}"));
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing can be done if it fails, and the directory stays.
        let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
    }
}

/// Objects by address: length and seed.
type Objects = BTreeMap<u64, (usize, u64)>;

fn add(heap: &Heap, objects: &mut Objects, len: usize, seed: u64) -> u64 {
    let section = heap.enter();
    let pointer = section.alloc(Layout::from_size_align(len, 8).unwrap()).unwrap();
    let addr = pointer.as_ptr().expose_provenance() as u64;
    // SAFETY: just allocated, for this length.
    unsafe { write(addr, &pattern(seed, len)) };
    objects.insert(addr, (len, seed));
    addr
}

fn compare(heap: &Heap, objects: &Objects) {
    heap.check();
    assert_eq!(heap.stats().unwrap().live_objects, objects.len() as u64);
    let _section = heap.enter();
    for (addr, (len, seed)) in objects {
        // SAFETY: a live object of this length; nobody writes.
        assert!(unsafe { read(*addr, *len) } == pattern(*seed, *len), "{addr:#x} of {len} bytes");
    }
}

/// Fills the disk, checkpoint by checkpoint. Returns what was durable before the one that failed.
fn fill(heap: &Heap, objects: &mut Objects, path: &Path) -> Objects {
    for seed in 0..10_000 {
        let before = objects.clone();
        for i in 0..20 {
            let len = [60, 700, 3000, 20_000][i % 4];
            add(heap, objects, len, seed * 100 + i as u64);
        }
        if let Err(error) = heap.checkpoint() {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            return before;
        }
    }
    panic!("the disk does not fill up");
}

fn a_full_disk(tracker: TrackerKind, disk: &Path) {
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST]).unwrap();
    let path = disk.join("full.heap");
    let heap = options(tracker, 64 << 10).create(&path).unwrap();
    let mut objects = Objects::new();
    let durable = fill(&heap, &mut objects, &path);
    compare(&heap, &objects);
    // Again and again, with more to write each time, and with something freed that was never durable.
    for seed in 0..5 {
        add(&heap, &mut objects, 500, seed);
        let gone = *objects.keys().find(|addr| !durable.contains_key(addr)).unwrap();
        objects.remove(&gone);
        // SAFETY: a live object, not used again.
        unsafe { heap.enter().dealloc(object(gone)) };
        assert_eq!(heap.checkpoint().unwrap_err().kind(), ErrorKind::StorageFull);
        compare(&heap, &objects);
    }
    drop(heap);
    let heap = options(tracker, 4096).open(&path).unwrap();
    compare(&heap, &durable);
    let mut objects = durable;
    fill(&heap, &mut objects, &path);
    std::fs::remove_file(&ballast).unwrap();
    heap.checkpoint().unwrap();
    compare(&heap, &objects);
    drop(heap);
    let heap = options(tracker, 4096).open(&path).unwrap();
    compare(&heap, &objects);
    heap.close().unwrap();
    compare(&options(tracker, 4096).open(&path).unwrap(), &objects);
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let _alone = alone();
    for tracker in trackers() {
        let Some(disk) = Disk::mount() else { return };
        a_full_disk(tracker, disk.dir.path());
    }
}

/// What did not fit is freed before anything else is modified: then nothing is left to write.
#[test]
fn freeing_what_did_not_fit_is_enough() {
    let _alone = alone();
    let Some(disk) = Disk::mount() else { return };
    for tracker in trackers() {
        let path = disk.dir.path().join("freed.heap");
        let heap = options(tracker, 64 << 10).create(&path).unwrap();
        let mut objects = Objects::new();
        add(&heap, &mut objects, 10_000, 1);
        add(&heap, &mut objects, 100, 2);
        heap.checkpoint().unwrap();
        let mut too_much = Objects::new();
        let addr = add(&heap, &mut too_much, 8 << 20, 3);
        assert_eq!(heap.checkpoint().unwrap_err().kind(), ErrorKind::StorageFull);
        // SAFETY: a live object, not used again.
        unsafe { heap.enter().dealloc(object(addr)) };
        heap.checkpoint().unwrap_or_else(|e| panic!("{tracker}: nothing is left to write, and yet: {e}"));
        compare(&heap, &objects);
        heap.close().unwrap();
        compare(&options(tracker, 4096).open(&path).unwrap(), &objects);
        std::fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn no_room_to_create_leaves_nothing_behind() {
    let _alone = alone();
    let Some(disk) = Disk::mount() else { return };
    let ballast = disk.dir.path().join("ballast");
    // Fails when the disk is full, which is the point.
    let _ = std::fs::write(&ballast, vec![1; 4 << 20]);
    let path = disk.dir.path().join("new.heap");
    let error = options(trackers()[0], 4096).create(&path).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("new.heap"), "{error}");
    assert!(!path.exists());
    std::fs::remove_file(&ballast).unwrap();
    options(trackers()[0], 4096).create(&path).unwrap();
}
