//! What is counted, as values: the host adds them to the proxy's statistics.
//!
//! Names hold their labels as pairs, so that they read well as they are and can be taken apart:
//! `oauth2_filter.requests.decision.denied.reason.inactive`.

pub(crate) mod client;

use crate::metrics::client::ClientEvent;
use crate::oauth::outcome::Outcome;
use crate::oauth::reason::Reason;

/// Something that has happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// One more of these.
    Count(Counter),
    /// So many more requests wait; fewer, if negative.
    Waiting(i64),
    /// A call to an introspection endpoint has taken so many milliseconds.
    CallTime(u64),
    /// A call to a token endpoint has taken so many milliseconds.
    TokenCallTime(u64),
    /// Something has happened with the outbound client of this number.
    Client(usize, ClientEvent),
}

/// The name of the gauge of requests that wait.
pub const WAITING: &str = "oauth2_filter.waiting_requests";

/// The name of the histogram of calls' milliseconds.
pub const CALL_TIME: &str = "oauth2_filter.call_milliseconds.endpoint.introspection";

/// The name of the histogram of the milliseconds of calls to token endpoints.
pub const TOKEN_CALL_TIME: &str = "oauth2_filter.call_milliseconds.endpoint.token";

/// Something that is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Counter {
    /// A request was decided.
    Request(Decision),
    /// A token was looked for among what is kept.
    Lookup(Lookup),
    /// A call to an introspection endpoint has ended.
    Call(Outcome),
}

impl Counter {
    /// Everything that is counted, in the order in which the host defines the statistics.
    pub fn all() -> impl Iterator<Item = Self> {
        let denied = Reason::counted_inbound().map(Decision::Denied);
        let decisions = Decision::OTHERS.into_iter().chain(denied).map(Self::Request);
        let lookups = Lookup::ALL.into_iter().map(Self::Lookup);
        decisions.chain(lookups).chain(Outcome::ALL.into_iter().map(Self::Call))
    }

    /// A small number of its own, so that it is found in a list by its place.
    pub fn place(self) -> usize {
        match self {
            Self::Lookup(lookup) => lookup as usize,
            Self::Call(outcome) => 8 | outcome as usize,
            Self::Request(decision) => decision.place().saturating_add(16),
        }
    }

    /// The name of its statistic.
    pub fn name(self) -> String {
        match self {
            Self::Request(decision) => {
                let (decision, reason) = decision.labels();
                format!("oauth2_filter.requests.decision.{decision}.reason.{reason}")
            }
            Self::Lookup(lookup) => format!("oauth2_filter.lookups.result.{}", lookup.label()),
            Self::Call(outcome) => {
                format!("oauth2_filter.calls.endpoint.introspection.outcome.{}", outcome.label())
            }
        }
    }
}

/// What was decided on a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Decision {
    /// It passed with a token that meets the rule.
    Allowed,
    /// The same by an answer past its time, since the authorization server fails.
    Stale,
    /// It passed without a token, as the rule has it.
    Public,
    /// It passed since the authorization server failed, as configured.
    Unchecked,
    /// It asked for the resource's metadata.
    Metadata,
    /// It was refused.
    Denied(Reason),
}

impl Decision {
    /// All but the refusals.
    const OTHERS: [Self; 5] =
        [Self::Allowed, Self::Stale, Self::Public, Self::Unchecked, Self::Metadata];

    /// A small number of its own.
    fn place(self) -> usize {
        match self {
            Self::Allowed => 0,
            Self::Stale => 1,
            Self::Public => 2,
            Self::Unchecked => 3,
            Self::Metadata => 4,
            Self::Denied(reason) => (reason as usize).saturating_add(5),
        }
    }

    /// The decision, and why.
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Allowed => ("allowed", "token"),
            Self::Stale => ("allowed", "stale"),
            Self::Public => ("allowed", "public"),
            Self::Unchecked => ("allowed", "unchecked"),
            Self::Metadata => ("answered", "resource_metadata"),
            Self::Denied(reason) => ("denied", reason.label()),
        }
    }
}

/// Where an answer was found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lookup {
    /// In this worker.
    Hit,
    /// In this worker, and it is a refusal.
    Negative,
    /// In shared data.
    Shared,
    /// Past its time, while the server fails.
    Stale,
    /// Nowhere.
    Miss,
}

impl Lookup {
    /// Each of them.
    const ALL: [Self; 5] = [Self::Hit, Self::Negative, Self::Shared, Self::Stale, Self::Miss];

    /// In a word.
    fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Negative => "negative",
            Self::Shared => "shared",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_names_of_counters_stay_as_dashboards_know_them() {
        let names = |before: &str, ends: &str| -> Vec<String> {
            ends.split_ascii_whitespace()
                .map(|end| format!("oauth2_filter.{before}{end}"))
                .collect()
        };
        let others = "allowed.reason.token allowed.reason.stale allowed.reason.public \
                      allowed.reason.unchecked answered.reason.resource_metadata";
        let denied = "no_token repeated_token bad_path bad_host malformed_token token_too_long \
                      inactive expired not_yet_valid wrong_issuer wrong_audience not_an_access_token \
                      unproved_cnf insufficient_scope claim_not_met \
                      insufficient_user_authentication no_server access_denied unmatched \
                      server_unavailable server_timeout server_refused_client server_bad_answer \
                      no_grant overloaded host_error";
        let outcomes = "active inactive unavailable timeout refused_client bad_answer";
        let known = [
            names("requests.decision.", others),
            names("requests.decision.denied.reason.", denied),
            names("lookups.result.", "hit negative shared stale miss"),
            names("calls.endpoint.introspection.outcome.", outcomes),
        ];
        assert_eq!(Counter::all().map(Counter::name).collect::<Vec<_>>(), known.concat());
    }

    #[test]
    fn every_counter_has_a_small_place_of_its_own() {
        let places: BTreeSet<usize> = Counter::all().map(Counter::place).collect();
        assert_eq!(places.len(), Counter::all().count());
        assert!(places.iter().all(|place| *place < 64));
    }

    #[test]
    fn every_counter_has_a_name_of_its_own_that_statistics_can_bear() {
        let names: Vec<String> = Counter::all().map(Counter::name).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        assert!(names.iter().all(|name| name.chars().all(is_plain) && !name.ends_with('.')));
    }
}
