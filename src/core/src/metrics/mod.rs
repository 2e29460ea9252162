//! Metrics as values, which the host adds to the proxy's statistics.
//!
//! Names contain their labels as pairs, so that they are readable and can be split into labels:
//! `oauth2_filter.requests.decision.denied.reason.inactive`.
//!
//! The input is decisions and outcomes; the output is names and values. This module depends neither
//! on the host nor on requests.

pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod labels;

use crate::ids::{ClientId, IssuerId};
use crate::metrics::client::ClientEvent;
use crate::metrics::keys::KeyEvent;
use crate::metrics::labels::{Labels, label_value};
use crate::oauth::claim_header::Dropped;
use crate::oauth::outcome::CallOutcome;
use crate::oauth::reason::Reason;
use crate::table::table;

/// An event that changes metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// Increments a counter.
    Count(Counter),
    /// Changes the number of waiting requests.
    Waiting(i64),
    /// The duration of a call to an introspection endpoint, in milliseconds.
    CallTime(u64),
    /// The duration of a call to a token endpoint, in milliseconds.
    TokenCallTime(u64),
    /// The duration of a call that fetches keys or their place, in milliseconds.
    KeyCallTime(u64),
    /// A claim of a response is not forwarded.
    Dropped(Dropped),
    /// An event of the outbound client with this identifier.
    Client(ClientId, ClientEvent),
    /// An event of the keys of the issuer with this identifier.
    Keys(IssuerId, KeyEvent),
}

/// The name of the gauge of waiting requests.
pub const WAITING: &str = "oauth2_filter.waiting_requests";

/// The name of the histogram of the duration of introspection calls.
pub const CALL_TIME: &str = "oauth2_filter.call_milliseconds.endpoint.introspection";

/// The name of the histogram of the duration of token requests.
pub const TOKEN_CALL_TIME: &str = "oauth2_filter.call_milliseconds.endpoint.token";

/// The name of the histogram of the duration of calls that fetch keys or their place.
pub const KEY_CALL_TIME: &str = "oauth2_filter.call_milliseconds.endpoint.keys";

/// The name of the counter of claims that are not forwarded in this header.
pub fn claims_dropped(header: &str) -> String {
    format!("oauth2_filter.claims_dropped.header.{}", label_value(header))
}

/// A counter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Counter {
    /// A request was decided.
    Request(Decision),
    /// A token was looked up in the introspection cache.
    Lookup(Lookup),
    /// A call to an introspection endpoint ended.
    Call(CallOutcome),
}

/// Where the positions of calls begin: after those of lookups.
const CALLS: usize = Lookup::ALL.len();

/// Where the positions of requests begin: after those of calls.
const REQUESTS: usize = CALLS + CallOutcome::ALL.len();

impl Counter {
    /// All counters, in the order in which the host defines the statistics.
    pub fn all() -> impl Iterator<Item = Self> {
        let denied = Reason::counted_inbound().map(Decision::Denied);
        let decisions = Decision::OTHERS.iter().copied().chain(denied).map(Self::Request);
        let lookups = Lookup::ALL.iter().copied().map(Self::Lookup);
        decisions.chain(lookups).chain(CallOutcome::ALL.iter().copied().map(Self::Call))
    }

    /// The index of the counter in a list of all.
    pub fn place(self) -> usize {
        match self {
            Self::Lookup(lookup) => lookup as usize,
            Self::Call(outcome) => CALLS.saturating_add(outcome as usize),
            Self::Request(decision) => REQUESTS.saturating_add(decision.position()),
        }
    }

    /// The name of the statistic.
    pub fn name(self) -> String {
        match self {
            Self::Request(decision) => {
                let Labels { decision, reason } = decision.labels();
                format!("oauth2_filter.requests.decision.{decision}.reason.{reason}")
            }
            Self::Lookup(lookup) => format!("oauth2_filter.lookups.result.{}", lookup.label()),
            Self::Call(outcome) => {
                format!("oauth2_filter.calls.endpoint.introspection.outcome.{}", outcome.label())
            }
        }
    }
}

table! {
    /// What was decided on a request.
    pub enum Decision {
        /// It was allowed with a token that meets the rule.
        Allowed => Labels { decision: "allowed", reason: "token" },
        /// It was allowed with a response served stale while the authorization server fails.
        Stale => Labels { decision: "allowed", reason: "stale" },
        /// It was allowed without a token, because the rule is public.
        Public => Labels { decision: "allowed", reason: "public" },
        /// It was allowed because the authorization server fails, as configured.
        Unchecked => Labels { decision: "allowed", reason: "unchecked" },
        /// It was for the resource's metadata.
        Metadata => Labels { decision: "answered", reason: "resource_metadata" },
        /// It was a CORS preflight that the filter answers.
        Preflight => Labels { decision: "answered", reason: "cors_preflight" },
    } or {
        /// It was refused.
        Denied(reason: Reason) => Labels { decision: "denied", reason: reason.label() },
    }
    /// The decision and its reason, as statistics and filter state name them.
    pub fn labels() -> Labels;
}

table! {
    /// Where an introspection response was found.
    pub enum Lookup {
        /// In this worker's cache.
        Hit => "hit",
        /// In this worker's cache, as a negative entry.
        Negative => "negative",
        /// In shared data.
        Shared => "shared",
        /// In this worker's cache, served stale because the server fails.
        Stale => "stale",
        /// In no cache.
        Miss => "miss",
        /// In no cache, but in the token itself, a JWT that was verified.
        Verified => "verified",
    }
    /// The value of the label `result`.
    fn label() -> &'static str;
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
                      allowed.reason.unchecked answered.reason.resource_metadata \
                      answered.reason.cors_preflight";
        let denied = "no_token repeated_token bad_path bad_host bad_header no_mcp_metadata \
                      bad_mcp_message malformed_token token_too_long inactive expired not_yet_valid wrong_issuer wrong_audience not_an_access_token \
                      unproved_cnf bad_signature not_verified unknown_key no_keys \
                      insufficient_scope claim_not_met \
                      insufficient_user_authentication no_server access_denied unmatched \
                      server_unavailable server_timeout server_refused_client server_bad_answer \
                      no_grant no_secret overloaded host_error";
        let outcomes = "active inactive unavailable timeout refused_client bad_answer";
        let known = [
            names("requests.decision.", others),
            names("requests.decision.denied.reason.", denied),
            names("lookups.result.", "hit negative shared stale miss verified"),
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
