//! The part of the suite that needs a real kernel: lanes told apart, races, dropped page tables, fork.

use super::{
    TrackerKind,
    conformance::{Lab, every, for_each_kind, map_somewhere, read, write},
    open,
};
use crate::{
    base::{ErrorKind, PAGE, ZoneIndex, sync::StopOnDrop},
    sys::{WorkingMemory, ptr},
};
use std::{
    io::Write,
    ops::Range,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

for_each_kind!(
    lanes_are_told_apart,
    writers_racing_harvests_lose_nothing,
    writes_by_the_kernel_are_tracked_or_refused,
    dropped_page_tables_lose_no_write,
    punched_frames_lose_no_write,
    a_forked_child_can_do_no_harm,
    a_dropped_tracker_leaves_plain_memory,
);

fn lanes_are_told_apart(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 8, 64) else { return };
    let lanes: Vec<_> = (1..=8).map(|lane| lab.lane(lane, 0..64)).collect();
    for lane in &lanes {
        lab.track(lane);
        lab.tracker.arm(lane.clone()).unwrap();
    }
    let dense = lab.lane(0, 0..64);
    every(&dense).into_iter().for_each(|page| write(page, 5));
    lab.zone.write(0, &[6; 4 * PAGE]).unwrap();
    lanes.iter().for_each(|lane| assert_eq!(lab.harvest(lane), [], "a write past the lanes was marked"));
    for (i, lane) in lanes.iter().enumerate() {
        let page = lane.start + (i as u64 * 7) * PAGE as u64;
        write(page + 16, 40 + i as u64);
        assert_eq!(read(dense.start + (i as u64 * 7) * PAGE as u64 + 16), 40 + i as u64);
        for (j, other) in lanes.iter().enumerate() {
            let expected: &[u64] = if i == j { &[page] } else { &[] };
            assert_eq!(lab.harvest(other), expected);
        }
    }
}

fn writers_racing_harvests_lose_nothing(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 2, 96) else { return };
    lab.track(&lab.lane(2, 0..96));
    race(&lab, 2, 96, |_| ());
}

/// Writers count up in pages of their own, in the first `pages` pages of `lane`, which are tracked; the harvester copies what is reported, and calls
/// `meanwhile` with the number of the harvest. In the end nothing may be missing.
pub fn race(lab: &Lab, lane: u64, pages: u64, mut meanwhile: impl FnMut(u64)) {
    const WRITERS: u64 = 3;
    let (lane, dense) = (lab.lane(lane, 0..pages), lab.lane(0, 0..pages));
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let mut shadow = vec![0; pages as usize];
    let mut take = || {
        for page in lab.harvest(&lane) {
            let index = (page - lane.start) / PAGE as u64;
            shadow[index as usize] = read(dense.start + index * PAGE as u64);
        }
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (lane, stop, written) = (&lane, &stop, &written);
            scope.spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    // Neighbours belong to different writers, and some pages are hotter than others.
                    let page = (count * 7 % (pages / WRITERS)) * WRITERS + writer;
                    write(lane.start + page * PAGE as u64, count);
                    let hot = writer + if count % 3 == 0 { WRITERS } else { 0 };
                    write(lane.start + hot * PAGE as u64, count);
                }
                written.fetch_add(count, Ordering::Relaxed);
            });
        }
        let _stopping = StopOnDrop(&stop);
        let until = std::time::Instant::now() + std::time::Duration::from_millis(600);
        for harvest in 0.. {
            take();
            meanwhile(harvest);
            if std::time::Instant::now() > until {
                break;
            }
        }
    });
    take();
    let memory: Vec<u64> = every(&dense).into_iter().map(read).collect();
    assert_eq!(shadow, memory, "after {} writes", written.load(Ordering::Relaxed));
}

fn writes_by_the_kernel_are_tracked_or_refused(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 16) else { return };
    let lane = lab.lane(1, 0..16);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"12345678").unwrap();
    let page = lane.start + 3 * PAGE as u64;
    // SAFETY: the page is mapped while `lab` lives, and only this thread uses it.
    let got = unsafe { libc::read(reader.as_raw_fd(), ptr(page).cast(), 8) };
    if lab.tracker.sees_kernel_writes() {
        assert_eq!(got, 8);
        assert_eq!(lab.harvest(&lane), [page]);
        assert_eq!(read(page), u64::from_ne_bytes(*b"12345678"));
    } else {
        assert_eq!((got, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EFAULT)));
        assert_eq!(lab.harvest(&lane), []);
    }
}

pub fn drop_page_tables(range: &Range<u64>) {
    let len = (range.end - range.start) as usize;
    // SAFETY: the range is a mapped lane of a memfd, whose bytes stay in the memfd.
    assert_eq!(unsafe { libc::madvise(ptr(range.start).cast(), len, libc::MADV_DONTNEED) }, 0);
}

fn dropped_page_tables_lose_no_write(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 64) else { return };
    let lane = lab.lane(1, 0..64);
    let page = |n: u64| lane.start + n * PAGE as u64;
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    write(page(4), 1);
    drop_page_tables(&lane);
    write(page(9), 2);
    let found = lab.harvest(&lane);
    assert!(found.contains(&page(4)) && found.contains(&page(9)), "{found:#x?}");
    drop_page_tables(&lane);
    write(page(4), 3);
    write(page(20), 4);
    let found = lab.harvest(&lane);
    assert!(found.contains(&page(4)) && found.contains(&page(20)), "{found:#x?}");
    assert_eq!((read(page(4)), read(page(9)), read(page(20))), (3, 2, 4));
}

fn punched_frames_lose_no_write(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 64) else { return };
    let lane = lab.lane(1, 0..64);
    lab.track(&lane);
    every(&lane).into_iter().for_each(|page| write(page, 1));
    lab.tracker.arm(lane.clone()).unwrap();
    lab.zone.punch(8 * PAGE as u64, 8 * PAGE as u64).unwrap();
    let (before, after) = (lab.lane(1, 7..8).start, lab.lane(1, 9..10).start);
    assert_eq!((read(before), read(after)), (1, 0));
    write(after, 5);
    let found = lab.harvest(&lane);
    assert!(found.contains(&after) && !found.contains(&before), "{found:#x?}");
}

/// Runs `child` in a forked child; gives its wait status.
pub fn in_fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: other threads may hold locks at this moment, so the child keeps to system calls, atomics and code that neither
    // allocates nor locks, or risks only itself: `alarm` ends one that hangs.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: `_exit` runs no code of the parent.
            unsafe {
                libc::alarm(20);
                libc::_exit(child());
            }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `pid` is our child and `status` is ours.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            status
        }
    }
}

pub fn killed_by(status: i32, signal: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal
}

fn a_forked_child_can_do_no_harm(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 1, 64) else { return };
    let lane = lab.lane(1, 0..64);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    write(lane.start, 1);
    let status = in_fork(|| {
        let forked = |result: crate::base::Result<()>| result.is_err_and(|e| e.kind() == ErrorKind::Forked);
        // SAFETY: the call refuses before it looks at the range.
        let refused = forked(unsafe { lab.tracker.track(lane.clone()) })
            && forked(lab.tracker.harvest(lane.clone(), &mut |_| ()))
            && forked(lab.tracker.arm(lane.clone()))
            && forked(lab.zone.write(0, &[1]))
            && forked(lab.zone.punch(0, PAGE as u64));
        lab.tracker.untrack(lane.clone());
        i32::from(!refused)
    });
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "child: {status:#x}");
    let status = in_fork(|| {
        write(lane.start + PAGE as u64, 66);
        0
    });
    assert!(killed_by(status, libc::SIGSEGV), "child: {status:#x}");
    write(lane.start + 2 * PAGE as u64, 2);
    assert_eq!(lab.harvest(&lane), [lane.start, lane.start + 2 * PAGE as u64]);
    assert_eq!(read(lane.start + PAGE as u64), 0);
}

fn a_dropped_tracker_leaves_plain_memory(kind: TrackerKind) {
    let Some(lab) = Lab::new(kind, 2, 64) else { return };
    for lane in [lab.lane(1, 0..64), lab.lane(2, 0..10)] {
        lab.track(&lane);
        lab.tracker.arm(lane).unwrap();
    }
    let (all, Lab { tracker, zone, memory: _memory }) = (lab.lane(1, 0..64), lab);
    drop(tracker);
    every(&all).into_iter().for_each(|page| write(page, 3));
    // Another tracker may have the zone now.
    let tracker = open(kind).unwrap();
    // SAFETY: the range is a mapped lane; the zone is dropped after the tracker.
    unsafe { tracker.track(all.clone()).unwrap() };
    tracker.arm(all.clone()).unwrap();
    write(all.start, 4);
    let mut found = Vec::new();
    tracker.harvest(all.clone(), &mut |range| found.push(range)).unwrap();
    assert_eq!(found, std::slice::from_ref(&(all.start..all.start + PAGE as u64)));
    drop((tracker, zone));
}

#[test]
fn one_zone_has_one_signal_tracker() {
    let lab = Lab::new(TrackerKind::Signal, 1, 16).unwrap();
    lab.track(&lab.lane(1, 0..8));
    let other = open(TrackerKind::Signal).unwrap();
    // SAFETY: the range is a mapped lane; `other` is dropped before the zone.
    let error = unsafe { other.track(lab.lane(1, 8..16)) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    let error = other.harvest(lab.lane(1, 0..8), &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_taken_window_names_the_mapping_in_the_way() {
    let memory = WorkingMemory::new().unwrap();
    let zone = map_somewhere(&memory, 3, 256);
    let number = zone.number();
    let error = memory.map_zone(number, ZoneIndex(1), 3, 1 << 20).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddressInUse);
    assert!(error.to_string().contains("memfd:strewn"), "{error}");
    assert!(error.to_string().contains(&format!("{:#x}", u64::from(number.0) << 39)), "{error}");
}
