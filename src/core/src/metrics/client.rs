//! The metrics of each outbound client. Names are as in [`metrics`](crate::metrics).

use std::iter;

use crate::metrics::labels::{Labels, label_value};
use crate::oauth::outcome::CallOutcome;
use crate::oauth::reason::Reason;
use crate::table::table;

/// An event of a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientEvent {
    /// A request was decided.
    Request(InjectionResult),
    /// A token was obtained, renewed or dropped.
    Token(TokenEvent),
    /// A call to the token endpoint ended; `None` if a token was issued.
    Call(Option<CallOutcome>),
    /// A gauge in seconds.
    Gauge(ClientGauge, u64),
}

table! {
    /// What happened to a request that needs a client's token.
    pub enum InjectionResult {
        /// It got the token.
        Injected => Labels { decision: "injected", reason: "token" },
        /// It kept the credentials that the caller had sent.
        Kept => Labels { decision: "kept", reason: "own_header" },
        /// It was forwarded without a token, as configured.
        Unauthenticated => Labels { decision: "unauthenticated", reason: "failure_mode_allow" },
    } or {
        /// It was refused.
        Denied(reason: Reason) => Labels { decision: "denied", reason: reason.label() },
    }
    /// The decision and its reason, as named in statistics.
    fn labels() -> Labels;
}

table! {
    /// What happened to a token.
    pub enum TokenEvent {
        /// One was obtained while there was none.
        Obtained => "obtained",
        /// One was obtained to replace one that is still valid.
        Renewed => "renewed",
        /// One was dropped because it was rejected.
        Dropped => "dropped",
    }
    /// The value of the label `event`.
    fn label() -> &'static str;
}

table! {
    /// A number of seconds.
    pub enum ClientGauge {
        /// The age of the token.
        Age => "token_age_seconds",
        /// The time until the token expires.
        ExpiresIn => "token_expires_in_seconds",
        /// The time until the next call is made after failures.
        BackOff => "token_backoff_seconds",
    }
    /// The name of the gauge in its statistic.
    fn label() -> &'static str;
}

/// Where the positions of token events begin: after those of gauges.
const TOKENS: usize = ClientGauge::ALL.len();

/// The position of a call that has issued a token: after those of token events.
const ISSUED: usize = TOKENS + TokenEvent::ALL.len();

/// Where the positions of calls that have failed begin.
const FAILED: usize = ISSUED + 1;

/// Where the positions of requests begin: after those of calls.
const REQUESTS: usize = FAILED + CallOutcome::ALL.len();

impl ClientEvent {
    /// All metrics, in the order in which the host defines the statistics; the values of gauges are
    /// arbitrary.
    pub fn all() -> impl Iterator<Item = Self> {
        let denied = Reason::counted_outbound().map(InjectionResult::Denied);
        let requests = InjectionResult::OTHERS.iter().copied().chain(denied);
        let failures =
            CallOutcome::ALL.iter().copied().filter(|outcome| outcome.is_of_token_calls());
        let calls = iter::once(None).chain(failures.map(Some));
        requests
            .map(Self::Request)
            .chain(TokenEvent::ALL.iter().copied().map(Self::Token))
            .chain(calls.map(Self::Call))
            .chain(ClientGauge::ALL.iter().copied().map(|gauge| Self::Gauge(gauge, 0)))
    }

    /// The index of the event in a list of all; that of a gauge does not depend on its value.
    pub fn place(self) -> usize {
        match self {
            Self::Gauge(gauge, _) => gauge as usize,
            Self::Token(event) => TOKENS.saturating_add(event as usize),
            Self::Call(None) => ISSUED,
            Self::Call(Some(outcome)) => FAILED.saturating_add(outcome as usize),
            Self::Request(injection) => REQUESTS.saturating_add(injection.position()),
        }
    }

    /// The value of a gauge; `None` for a counter.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Gauge(_, value) => Some(value),
            Self::Request(_) | Self::Token(_) | Self::Call(_) => None,
        }
    }

    /// The name of the statistic for the client of this name.
    pub fn name(self, client: &str) -> String {
        let client = label_value(client);
        match self {
            Self::Request(injection) => {
                let Labels { decision, reason } = injection.labels();
                format!(
                    "oauth2_filter.outbound_requests.client.{client}.decision.{decision}\
                     .reason.{reason}"
                )
            }
            Self::Token(event) => {
                format!("oauth2_filter.tokens.client.{client}.event.{}", event.label())
            }
            Self::Call(outcome) => {
                let outcome = outcome.map_or("issued", CallOutcome::label);
                format!("oauth2_filter.token_calls.client.{client}.outcome.{outcome}")
            }
            Self::Gauge(gauge, _) => format!("oauth2_filter.{}.client.{client}", gauge.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_names_of_statistics_of_a_client_stay_as_dashboards_know_them() {
        let requests = "injected.reason.token kept.reason.own_header \
                        unauthenticated.reason.failure_mode_allow";
        let denied = "no_token server_unavailable server_timeout server_refused_client \
                      server_bad_answer no_grant no_secret subject_refused exchange_refused \
                      overloaded \
                      host_error";
        let names = |before: &str, ends: &str| -> Vec<String> {
            ends.split_ascii_whitespace()
                .map(|end| format!("oauth2_filter.{before}{end}"))
                .collect()
        };
        let known = [
            names("outbound_requests.client.c.decision.", requests),
            names("outbound_requests.client.c.decision.denied.reason.", denied),
            names("tokens.client.c.event.", "obtained renewed dropped"),
            names(
                "token_calls.client.c.outcome.",
                "issued unavailable timeout refused_client bad_answer",
            ),
            names(
                "",
                "token_age_seconds.client.c token_expires_in_seconds.client.c \
                 token_backoff_seconds.client.c",
            ),
        ];
        let all: Vec<String> = ClientEvent::all().map(|event| event.name("c")).collect();
        assert_eq!(all, known.concat());
    }

    #[test]
    fn every_statistic_of_a_client_has_a_small_place_of_its_own() {
        let places: BTreeSet<usize> = ClientEvent::all().map(ClientEvent::place).collect();
        assert_eq!(places.len(), ClientEvent::all().count());
        assert!(places.iter().all(|place| *place < 64));
    }

    #[test]
    fn every_statistic_of_a_client_has_a_name_of_its_own() {
        let names: Vec<String> = ClientEvent::all().map(|event| event.name("a.b c")).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| name.contains(".client.a_b_c")));
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        assert!(names.iter().all(|name| name.chars().all(is_plain)));
    }
}
