//! The part of the suite that needs a process to itself: the previous signal handler, limits, all of the mappings.
//!
//! Each scene is run by this test binary, started again for the one test that plays it.

use super::{
    TrackerKind,
    conformance::{Lab, every, next_zone, read, write},
    open,
};
use crate::{
    base::{ErrorKind, ZoneIndex},
    sys::{WorkingMemory, limits::max_map_count, probe::probe},
};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
};

const SCENE: &str = "STREWN_TEST_SCENE";

fn in_a_fresh_process(scene: &str) -> ExitStatus {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1", "track::conformance_process::scene"])
        .env(SCENE, scene)
        .output()
        .unwrap();
    println!(
        "{scene}: {}\n{}{}",
        run.status,
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    run.status
}

#[test]
fn scene() {
    let scene = std::env::var(SCENE);
    if scene.is_ok() {
        // SAFETY: no pointers; ends this process if a fault comes again for ever.
        unsafe { libc::alarm(60) };
    }
    match scene.as_deref() {
        Ok("own handler") => fault_after(exit_with_7 as *const () as usize, stray_fault),
        Ok("default action") => fault_after(libc::SIG_DFL, stray_fault),
        Ok("sent") => fault_after(libc::SIG_DFL, |_| send()),
        Ok("sent, ignored") => {
            fault_after(libc::SIG_IGN, |_| send());
            std::process::exit(8);
        }
        Ok("many pages") => write_more_pages_than_mappings(),
        Ok("address space") => map_under_an_address_space_limit(),
        Ok("file size") => map_under_a_file_size_limit(),
        Ok("no userfaultfd") => open_without_userfaultfd(),
        Ok(other) => panic!("no scene {other:?}"),
        Err(_) => (),
    }
}

extern "C" fn exit_with_7(_: i32) {
    // SAFETY: async-signal-safe; runs no code of the program.
    unsafe { libc::_exit(7) };
}

/// A fault that is not the tracker's: in a page of the window that nothing was mapped over.
fn stray_fault(lab: &Lab) {
    write(lab.lane(100, 0..1).start, 1);
    unreachable!("the stray write went through");
}

fn send() {
    // SAFETY: the signal goes to this thread, whose handlers are those of the scene.
    unsafe { libc::raise(libc::SIGSEGV) };
}

/// Sets the action of SIGSEGV, then uses a signal tracker, then calls `fault`.
fn fault_after(action: usize, fault: fn(&Lab)) {
    // SAFETY: a plain handler that only exits, or one of the standard actions.
    unsafe { libc::signal(libc::SIGSEGV, action) };
    let lab = Lab::new(TrackerKind::Signal, 1, 16).unwrap();
    let lane = lab.lane(1, 0..16);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    write(lane.start, 1);
    assert_eq!(lab.harvest(&lane), [lane.start]);
    fault(&lab);
}

#[test]
fn foreign_faults_go_to_the_previous_handler() {
    assert_eq!(in_a_fresh_process("own handler").code(), Some(7));
    assert_eq!(in_a_fresh_process("default action").signal(), Some(libc::SIGSEGV));
    assert_eq!(in_a_fresh_process("sent").signal(), Some(libc::SIGSEGV));
    assert_eq!(in_a_fresh_process("sent, ignored").code(), Some(8));
}

#[test]
fn more_dirty_pages_than_mappings_are_all_found() {
    assert!(in_a_fresh_process("many pages").success());
}

fn write_more_pages_than_mappings() {
    const PAGES: u64 = 80_000;
    let lab = Lab::new(TrackerKind::Signal, 1, PAGES).unwrap();
    let lane = lab.lane(1, 0..PAGES);
    lab.track(&lane);
    for round in 1..3 {
        lab.tracker.arm(lane.clone()).unwrap();
        let even: Vec<u64> = every(&lane).into_iter().step_by(2).collect();
        even.iter().for_each(|page| write(*page, round));
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count() as u64;
        assert!(mappings < max_map_count() * 3 / 4, "{mappings} mappings: none are left for the rest of the program");
        let found = lab.harvest(&lane);
        let found: std::collections::HashSet<u64> = found.into_iter().collect();
        assert!(even.iter().all(|page| found.contains(page)), "{} pages found", found.len());
        assert!(even.iter().all(|page| read(*page) == round));
    }
    assert_eq!(lab.harvest(&lane), []);
    write(lane.start, 9);
    assert_eq!(lab.harvest(&lane), [lane.start]);
}

#[test]
fn limits_that_refuse_are_named() {
    assert!(in_a_fresh_process("address space").success());
    assert!(in_a_fresh_process("file size").success());
}

#[test]
fn without_userfaultfd_the_default_is_the_signal_tracker() {
    assert!(in_a_fresh_process("no userfaultfd").success());
}

/// Forbids this thread the system call, as a container's seccomp profile would.
fn forbid_userfaultfd() {
    let step = |code, k, jt, jf| libc::sock_filter { code: code as u16, k, jt, jf };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, std::mem::offset_of!(libc::seccomp_data, nr) as u32, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_userfaultfd as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program is valid and outlives the calls, which concern this thread alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

fn open_without_userfaultfd() {
    forbid_userfaultfd();
    assert_eq!(probe().default_tracker(), TrackerKind::Signal);
    assert!(probe().to_string().contains("userfaultfd          missing: "), "{}", probe());
    for kind in [TrackerKind::Async, TrackerKind::Page] {
        let error = open(kind).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("userfaultfd") && error.to_string().contains("not permitted"), "{error}");
    }
    let lab = Lab::new(TrackerKind::Signal, 1, 16).unwrap();
    let lane = lab.lane(1, 0..16);
    lab.track(&lane);
    lab.tracker.arm(lane.clone()).unwrap();
    write(lane.start, 1);
    assert_eq!(lab.harvest(&lane), [lane.start]);
}

fn limit(resource: libc::__rlimit_resource_t, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit is a valid struct.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

fn map_under_an_address_space_limit() {
    limit(libc::RLIMIT_AS, 64 << 30);
    let error = WorkingMemory::new().unwrap().map_zone(next_zone(), ZoneIndex(0), 1, 1 << 20).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error.to_string().contains("RLIMIT_AS") && error.to_string().contains(&(64u64 << 30).to_string()),
        "{error}"
    );
}

fn map_under_a_file_size_limit() {
    limit(libc::RLIMIT_FSIZE, 1 << 30);
    let memory = WorkingMemory::new().unwrap();
    let zone = memory.map_zone(next_zone(), ZoneIndex(0), 1, 1 << 30).unwrap();
    zone.write((1 << 30) - 1, &[1]).unwrap();
    let error = memory.map_zone(next_zone(), ZoneIndex(1), 1, 1 << 20).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error.to_string().contains("RLIMIT_FSIZE") && error.to_string().contains(&(1u64 << 30).to_string()),
        "{error}"
    );
}
