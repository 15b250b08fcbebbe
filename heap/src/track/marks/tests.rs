//! The words of marks, and harvests beside handlers of real threads.

use super::*;

#[test]
fn masks_and_runs_agree_with_pages() {
    for (start, end) in [(0, 1), (0, 64), (63, 64), (5, 200), (64, 128), (127, 129)] {
        let (mut runs, mut pages) = (Vec::new(), 0);
        for (word, mask) in words(&(start..end)) {
            pages += mask.count_ones();
            push_runs(&mut runs, word as u64 * 64, mask);
        }
        assert_eq!(runs.as_slice(), std::slice::from_ref(&(start..end)));
        assert_eq!(u64::from(pages), end - start);
    }
    let mut runs = Vec::new();
    push_runs(&mut runs, 64, 0b1011 | 1 << 63);
    push_runs(&mut runs, 128, 1);
    assert_eq!(runs, [64..66, 67..68, 127..129]);
}

#[test]
fn a_harvest_waits_for_the_handlers_before_it_and_for_no_later_one() {
    let zone = ZoneMarks::new(0x50).unwrap();
    let (before, started) = (zone.enter_handler(), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut harvest = zone.start_harvest();
            started.store(1, Ordering::SeqCst);
            assert_eq!(harvest.take(&(0..PAGES)), PAGES);
            assert_eq!(harvest.runs(), std::slice::from_ref(&(900..901)));
        });
        thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(started.load(Ordering::SeqCst), 0, "the harvest overtook a handler");
        assert_eq!(zone.mark(&(900..901)), 1);
        zone.leave_handler(before);
    });
    // The other order: whoever enters in the middle of the wait is in the phase that is waited for next, or later.
    let stop = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) == 0 {
                    zone.leave_handler(zone.enter_handler());
                }
            });
        }
        (0..1000).for_each(|_| drop(zone.start_harvest()));
        stop.store(1, Ordering::Relaxed);
    });
}
