//! A call in flight, and the time of a callback.

use std::time::Duration;

use super::interface::HostError;
use oauth2_filter_core::{CallFailure, CallId, Timestamp};

/// A call in flight.
#[derive(Debug)]
pub struct InFlight {
    /// The filter's name for it.
    pub id: CallId,
    /// When it was made.
    pub started: Timestamp,
    /// Its timeout.
    pub timeout: Duration,
}

/// The time of a callback.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// The current time, or the last known one if the host fails.
    pub(super) now: Timestamp,
    /// Whether the host failed: then nothing may be forwarded.
    pub(super) clock: Result<(), HostError>,
}

impl InFlight {
    /// Why a response broke off after it had begun. The host does not say whether that was its
    /// timeout, so the time that has passed decides: in the first half of its timeout a call broke
    /// off by itself, in the second half its time was up.
    ///
    /// A narrower limit would depend on load. The host's timer runs from the start of the turn of
    /// the event loop in which the call is made, and the clock is read later in that turn; with
    /// many requests in it, or on a busy machine, the timer is ahead by the length of that turn.
    pub fn broken_off(&self, now: Timestamp) -> CallFailure {
        match self.timeout.checked_div(2) {
            Some(half) if now < self.started.plus(half) => CallFailure::Unreachable,
            _ => CallFailure::Timeout,
        }
    }
}
