//! Logs when calls to a server begin to fail and when they succeed again, with few lines in
//! between.

use std::time::Duration;

use log::{Level, log};

use crate::oauth::explanation::Explained;
use crate::oauth::failure::Failure;
use crate::timestamp::Timestamp;

/// The minimum time between two lines on failed calls, to limit the log.
const PAUSE: Duration = Duration::from_secs(1);

/// The consecutive failures of a server, and what was logged.
pub(crate) struct FailureLog {
    /// The name of the server in log lines.
    name: String,
    /// The number of consecutive failures.
    failed: u64,
    /// When the next failure may be logged.
    quiet_until: Timestamp,
}

impl FailureLog {
    pub(crate) fn new(name: String) -> Self {
        Self { name, failed: 0, quiet_until: Timestamp::from_millis(0) }
    }

    /// Records the outcome of a call, and logs it if necessary, with the explanation of a failure.
    pub(crate) fn note(
        &mut self,
        failure: Option<&Failure>,
        explain: &dyn Fn(Failure) -> Explained,
        now: Timestamp,
    ) {
        if let Some((level, line)) = self.line(failure, explain, now) {
            log!(level, "{line}");
        }
    }

    /// The line to be logged, if there is one.
    fn line(
        &mut self,
        failure: Option<&Failure>,
        explain: &dyn Fn(Failure) -> Explained,
        now: Timestamp,
    ) -> Option<(Level, String)> {
        let Self { name, failed, quiet_until } = self;
        let Some(failure) = failure else {
            *quiet_until = Timestamp::from_millis(0);
            let failed = std::mem::take(failed);
            let line = || format!("{name} recovered after {failed} failed calls");
            return (failed > 0).then(|| (Level::Info, line()));
        };
        *failed = failed.saturating_add(1);
        if now < *quiet_until {
            return None;
        }
        *quiet_until = now.plus(PAUSE);
        let why = explain(*failure);
        let line = format!("{name} failed ({failed} in a row): {why}");
        Some((Level::Warn, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: &[(u64, bool)]) -> Vec<String> {
        let mut health = FailureLog::new("introspection at cluster as".into());
        let line = |(millis, failed): &(u64, bool)| {
            let explain = |failure| Explained::new(failure, Err(failure), &|_| {});
            let failure = failed.then_some(&Failure::NotJson);
            let now = Timestamp::from_millis(*millis);
            let (level, text) = health.line(failure, &explain, now)?;
            Some(format!("{millis} {level} {text}"))
        };
        events.iter().filter_map(line).collect()
    }

    #[test]
    fn a_server_that_answers_is_not_talked_of() {
        assert!(lines(&[(1, false), (2, false)]).is_empty());
    }

    #[test]
    fn failures_make_a_line_a_second_and_the_recovery_one() {
        let failed = "WARN introspection at cluster as failed";
        assert_eq!(
            lines(&[(10, true), (11, true), (1_009, true), (1_010, true), (1_011, false)]),
            [
                format!("10 {failed} (1 in a row): response is not a JSON object"),
                format!("1010 {failed} (4 in a row): response is not a JSON object"),
                "1011 INFO introspection at cluster as recovered after 4 failed calls".to_owned(),
            ]
        );
    }

    #[test]
    fn a_failure_after_a_recovery_is_told_at_once() {
        assert_eq!(lines(&[(10, true), (11, false), (12, true)]).len(), 3);
    }
}
