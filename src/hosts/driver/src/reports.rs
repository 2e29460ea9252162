//! Limits the logging of failures of the host: the first of each kind is logged at once, then at
//! most one a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use log::error;

use super::interface::{HostError, Metrics};
use oauth2_filter_core::Timestamp;

/// The minimum time between two lines of a kind.
const PAUSE: Duration = Duration::from_secs(1);

/// One throttle for each kind of failure in one worker.
#[derive(Debug, Default)]
pub struct Reports {
    /// Requests denied with `oauth2_host_error`.
    pub(super) refused: Throttle,
    /// Responses that could not be sent.
    pub(super) unanswered: Throttle,
    /// The clock, if no request depends on it directly.
    pub(super) clock: Throttle,
    pub(super) timer: Throttle,
    pub(super) data: Throttle,
    pub(super) metrics: Throttle,
    /// Responses that could not be read.
    pub(super) unread: Throttle,
    /// Responses that could not be marked as private.
    pub(super) private: Throttle,
}

impl Reports {
    /// The clock failed, and no request depends on it directly.
    pub fn clock_failed<H: Metrics>(&self, host: &H, error: HostError) {
        if let Some(times) = self.clock.due(host) {
            error!("failed to read the clock ({times} so far): {error}");
        }
    }
}

/// Counts failures, and limits their logging.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Failures>);

/// The failures of one kind.
#[derive(Debug, Default)]
struct Failures {
    /// How many there were.
    times: u64,
    /// When the last one was logged.
    logged: Option<Timestamp>,
}

impl Throttle {
    /// Counts a failure; returns the count so far if this one is to be logged.
    #[cold]
    pub(super) fn due<H: Metrics>(&self, host: &H) -> Option<u64> {
        self.note(host.now())
    }

    /// Counts a failure at this time.
    fn note(&self, now: Result<Timestamp, HostError>) -> Option<u64> {
        let failures = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.times = failures.times.saturating_add(1);
        let is_due = match (now, failures.logged) {
            // A clock that was set back must not suppress lines for long.
            (Ok(now), Some(logged)) => now < logged || now >= logged.plus(PAUSE),
            (Ok(_), None) => true,
            // Without a clock, lines become less frequent as failures increase.
            (Err(_), _) => failures.times.is_power_of_two(),
        };
        if !is_due {
            return None;
        }
        failures.logged = now.ok().or(failures.logged);
        Some(failures.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HostCall;

    fn logged(times: &[Option<u64>]) -> Vec<u64> {
        let throttle = Throttle::default();
        let refused = HostError { call: HostCall::Now, status: 1 };
        let note =
            |millis: &Option<u64>| throttle.note(millis.map(Timestamp::from_millis).ok_or(refused));
        times.iter().filter_map(note).collect()
    }

    #[test]
    fn failures_make_a_line_a_second() {
        assert_eq!(logged(&[Some(5), Some(6), Some(1_004), Some(1_005), Some(1_006)]), [1, 4]);
        assert_eq!(logged(&[Some(9_000), Some(5), Some(6)]), [1, 2], "the clock is set back");
    }

    #[test]
    fn without_a_clock_lines_become_rarer() {
        assert_eq!(logged(&[None; 20]), [1, 2, 4, 8, 16]);
        assert_eq!(logged(&[None, None, None, Some(7), None, Some(8)]), [1, 2, 4]);
    }
}
