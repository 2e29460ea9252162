//! The metrics of the keys of each issuer. Names are as in [`metrics`](crate::metrics).

use crate::metrics::labels::label_value;
use crate::oauth::outcome::CallOutcome;

/// An event of the keys of an issuer, which are fetched.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyEvent {
    /// A fetch ended; `None` if it was successful.
    Fetch(Option<CallOutcome>),
    /// A token names a key that its issuer is not known to have.
    Unknown,
    /// The gauge of the age of the keys, in seconds.
    Age(u64),
}

impl KeyEvent {
    /// All metrics, in the order in which the host defines the statistics; the value of the gauge
    /// is arbitrary.
    pub const ALL: [Self; 6] = [
        Self::Fetch(None),
        Self::Fetch(Some(CallOutcome::Unavailable)),
        Self::Fetch(Some(CallOutcome::Timeout)),
        Self::Fetch(Some(CallOutcome::BadAnswer)),
        Self::Unknown,
        Self::Age(0),
    ];

    /// The index of the event in a list of all; that of the gauge does not depend on its value.
    pub fn place(self) -> usize {
        match self {
            Self::Age(_) => 0,
            Self::Unknown => 1,
            Self::Fetch(None) => 2,
            Self::Fetch(Some(outcome)) => 3_usize.saturating_add(outcome as usize),
        }
    }

    /// The value of the gauge; `None` for a counter.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Age(seconds) => Some(seconds),
            Self::Unknown | Self::Fetch(_) => None,
        }
    }

    /// The name of the statistic for the issuer with this identifier.
    pub fn name(self, issuer: &str) -> String {
        let (metric, outcome) = match self {
            Self::Fetch(None) => ("key_fetches", "success"),
            Self::Fetch(Some(outcome)) => ("key_fetches", outcome.label()),
            Self::Unknown => ("unknown_keys", ""),
            Self::Age(_) => ("keys_age_seconds", ""),
        };
        let label = if outcome.is_empty() { "" } else { ".outcome." };
        ["oauth2_filter.", metric, ".issuer.", &label_value(issuer), label, outcome].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_names_of_statistics_of_keys_stay_as_dashboards_know_them() {
        let names: Vec<String> = KeyEvent::ALL.map(|event| event.name("https://as.test/a")).into();
        let known = [
            "key_fetches.issuer.https___as_test_a.outcome.success",
            "key_fetches.issuer.https___as_test_a.outcome.unavailable",
            "key_fetches.issuer.https___as_test_a.outcome.timeout",
            "key_fetches.issuer.https___as_test_a.outcome.bad_answer",
            "unknown_keys.issuer.https___as_test_a",
            "keys_age_seconds.issuer.https___as_test_a",
        ];
        assert_eq!(names, known.map(|name| format!("oauth2_filter.{name}")));
    }

    #[test]
    fn every_statistic_of_keys_has_a_small_place_of_its_own() {
        let places: BTreeSet<usize> = KeyEvent::ALL.map(KeyEvent::place).into();
        assert_eq!(places.len(), KeyEvent::ALL.len());
        assert!(places.iter().all(|place| *place < 16));
    }
}
