//! Times at which requests are due.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::set_current_timer_slack;

/// Has this thread wake up when its time has come: the kernel's habit is up to 50 µs later.
pub fn wake_at_once() {
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// Sleeps until then, if that is to come.
pub fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// When each of some connections is due, taking turns at a common rate.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When the first request of the first connection is due.
    pub start: Instant,
    /// Requests a second, of all connections.
    pub rate: u32,
    /// The number of connections.
    pub connections: usize,
}

impl Schedule {
    /// When a connection's request is due; both count from zero.
    pub fn due(&self, connection: usize, request: usize) -> Instant {
        let place = (request * self.connections + connection) as f64;
        self.start + Duration::from_secs_f64(place / f64::from(self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_at_the_common_rate() {
        let start = Instant::now();
        let schedule = Schedule { start, rate: 1_000, connections: 4 };
        let due = |connection, request| schedule.due(connection, request) - start;
        assert_eq!(due(0, 0), Duration::ZERO);
        assert_eq!(due(3, 0), Duration::from_millis(3));
        assert_eq!(due(1, 250), Duration::from_millis(1_001));
    }
}
