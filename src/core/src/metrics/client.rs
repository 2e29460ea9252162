//! What is counted for each outbound client, as values. The form of names is that of
//! [`metrics`](crate::metrics).

use crate::oauth::outcome::Outcome;
use crate::oauth::reason::Reason;

/// Something that has happened with a client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientEvent {
    /// A request was decided.
    Request(Injection),
    /// A token has come, or gone.
    Token(TokenEvent),
    /// A call to the token endpoint has ended: `None` if a token was issued.
    Call(Option<Outcome>),
    /// A number that goes up and down, in seconds.
    Gauge(ClientGauge, u64),
}

/// What was done with a request that a client's token is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Injection {
    /// It got the token.
    Injected,
    /// It kept what the caller had put there.
    Kept,
    /// It went on without a token, as configured.
    Unauthenticated,
    /// It was refused.
    Denied(Reason),
}

/// What has become of a token.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenEvent {
    /// One was obtained while there was none.
    Obtained,
    /// One was obtained in place of a good one.
    Renewed,
    /// One was dropped, since the upstream did not take it.
    Dropped,
}

/// A number of seconds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClientGauge {
    /// How old the token is.
    Age,
    /// How long it still lives.
    ExpiresIn,
    /// How long no call is made, after failures.
    BackOff,
}

impl ClientEvent {
    /// Everything that is counted; of numbers, any.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [Injection::Injected, Injection::Kept, Injection::Unauthenticated];
        let requests = others.into_iter().chain(Reason::counted_outbound().map(Injection::Denied));
        let tokens = [TokenEvent::Obtained, TokenEvent::Renewed, TokenEvent::Dropped];
        let calls = [
            None,
            Some(Outcome::Unavailable),
            Some(Outcome::Timeout),
            Some(Outcome::RefusedClient),
            Some(Outcome::BadAnswer),
        ];
        let gauges = [ClientGauge::Age, ClientGauge::ExpiresIn, ClientGauge::BackOff];
        requests
            .map(Self::Request)
            .chain(tokens.into_iter().map(Self::Token))
            .chain(calls.into_iter().map(Self::Call))
            .chain(gauges.into_iter().map(|gauge| Self::Gauge(gauge, 0)))
    }

    /// A small number of its own, so that it is found in a list by its place; that of a gauge is
    /// the same whatever its value.
    pub fn place(self) -> usize {
        match self {
            Self::Gauge(gauge, _) => gauge as usize,
            Self::Token(event) => 4 | event as usize,
            Self::Call(None) => 8,
            Self::Call(Some(outcome)) => (outcome as usize).saturating_add(9),
            Self::Request(Injection::Injected) => 16,
            Self::Request(Injection::Kept) => 17,
            Self::Request(Injection::Unauthenticated) => 18,
            Self::Request(Injection::Denied(reason)) => (reason as usize).saturating_add(19),
        }
    }

    /// The name of its statistic for the client of this name.
    pub fn name(self, client: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let client: String = client.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        match self {
            Self::Request(injection) => {
                let (decision, reason) = match injection {
                    Injection::Injected => ("injected", "token"),
                    Injection::Kept => ("kept", "own_header"),
                    Injection::Unauthenticated => ("unauthenticated", "failure_mode_allow"),
                    Injection::Denied(reason) => ("denied", reason.label()),
                };
                format!(
                    "oauth2_filter.outbound_requests.client.{client}.decision.{decision}\
                     .reason.{reason}"
                )
            }
            Self::Token(event) => {
                let event = match event {
                    TokenEvent::Obtained => "obtained",
                    TokenEvent::Renewed => "renewed",
                    TokenEvent::Dropped => "dropped",
                };
                format!("oauth2_filter.tokens.client.{client}.event.{event}")
            }
            Self::Call(outcome) => {
                let outcome = outcome.map_or("issued", Outcome::label);
                format!("oauth2_filter.token_calls.client.{client}.outcome.{outcome}")
            }
            Self::Gauge(gauge, _) => {
                let gauge = match gauge {
                    ClientGauge::Age => "token_age_seconds",
                    ClientGauge::ExpiresIn => "token_expires_in_seconds",
                    ClientGauge::BackOff => "token_backoff_seconds",
                };
                format!("oauth2_filter.{gauge}.client.{client}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
