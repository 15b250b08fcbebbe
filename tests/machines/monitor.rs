//! Saving a guest's state through its monitor (QMP): the few orders that it takes, and no JSON beyond them.

use crate::guest::Guest;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

struct Monitor {
    orders: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Monitor {
    fn new(orders: UnixStream) -> Self {
        orders.set_read_timeout(Some(PATIENCE)).unwrap();
        let answers = BufReader::new(orders.try_clone().unwrap());
        let mut monitor = Self { orders, answers };
        monitor.order("qmp_capabilities", "{}");
        monitor
    }

    /// Gives an order, and returns the answer to it, which is no error.
    fn order(&mut self, name: &str, arguments: &str) -> String {
        writeln!(self.orders, r#"{{"execute": "{name}", "arguments": {arguments}}}"#).unwrap();
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "{name}: the monitor is gone");
            assert!(!line.contains(r#""error""#), "{name}: {line}");
            // Others are the greeting and events.
            if line.contains(r#""return""#) {
                return line;
            }
        }
    }
}

/// Writes the state of a guest that waits for orders to `state`, and ends it.
///
/// It is not stopped before: a guest saved while it is stopped would be so again.
pub fn save(mut guest: Guest, state: &Path) {
    let mut monitor = Monitor::new(guest.monitor());
    monitor.order("migrate", &format!(r#"{{"uri": "exec:cat >{}"}}"#, state.display()));
    let start = Instant::now();
    loop {
        let answer = monitor.order("query-migrate", "{}");
        if answer.contains(r#""status": "completed""#) {
            break;
        }
        assert!(!answer.contains(r#""failed""#) && start.elapsed() < PATIENCE, "saving a guest: {answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
    guest.kill();
}
