//! How far the clock of an authorization server may differ.

use std::time::Duration;

/// The tolerance for the times in tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockSkew {
    /// For `exp` and `max_age`.
    pub(crate) late: Duration,
    /// For `nbf`: a new token is used at once, so a server whose clock is slightly ahead would
    /// otherwise make every first request fail.
    pub(crate) early: Duration,
}

impl Default for ClockSkew {
    fn default() -> Self {
        Self { late: Duration::ZERO, early: Duration::from_secs(5) }
    }
}

impl From<Duration> for ClockSkew {
    fn from(both: Duration) -> Self {
        Self { late: both, early: both }
    }
}
