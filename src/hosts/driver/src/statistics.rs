//! The proxy's statistics. If the host rejects a metric, only that metric is missing.

use std::cell::RefCell;

use log::warn;

use super::interface::{HostError, MetricKind, Metrics, ProxyWasm};
use super::reports::Reports;
use oauth2_filter_core::{
    CALL_TIME, ClientEvent, ClientGauge, Counter, Event, KEY_CALL_TIME, KeyEvent, TOKEN_CALL_TIME,
    WAITING, claims_dropped,
};

/// The host's numbers of metrics by their names, in order. It keeps every number that it returns
/// until the VM ends, so each configuration defines only the metrics that are new.
pub(super) type Defined = RefCell<Vec<(String, u32)>>;

/// The host's numbers of metrics, which all workers share.
#[derive(Debug)]
pub struct Statistics {
    /// One for each counter, at its place.
    counters: Numbers,
    /// How many requests wait.
    waiting: Option<u32>,
    /// How long introspection calls take.
    call_time: Option<u32>,
    /// How long calls to token endpoints take.
    token_call_time: Option<u32>,
    /// How long calls take that fetch keys.
    key_call_time: Option<u32>,
    /// The metrics of each outbound client, each event at its place.
    clients: Vec<Numbers>,
    /// The metrics of the keys of each issuer, each event at its place; empty if none are fetched.
    keys: Vec<Numbers>,
    /// The claims that are not forwarded, for each header.
    claims_dropped: Numbers,
}

/// The host's numbers; none for rejected metrics.
type Numbers = Vec<Option<u32>>;

impl Statistics {
    /// Defines all of them, so that they exist with value zero. `define` returns the host's number
    /// of a metric, or `None` if the host rejects it.
    pub fn define<'c>(
        define: impl Fn(MetricKind, &str) -> Option<u32>,
        clients: impl Iterator<Item = &'c str>,
        claim_headers: impl Iterator<Item = &'c str>,
        key_issuers: impl Iterator<Item = Option<&'c str>>,
    ) -> Self {
        let mut counters = Vec::new();
        Counter::all().for_each(|counter| {
            set(&mut counters, counter.place(), define(MetricKind::Counter, &counter.name()));
        });
        let mut of_clients = Vec::new();
        for client in clients {
            let mut numbers = Vec::new();
            let add = &mut |event: ClientEvent| {
                let number = define(kind(event.value()), &event.name(client));
                set(&mut numbers, event.place(), number);
            };
            ClientEvent::all().for_each(add);
            of_clients.push(numbers);
        }
        let mut of_keys = Vec::new();
        for issuer in key_issuers {
            let mut numbers = Vec::new();
            if let Some(issuer) = issuer {
                for event in KeyEvent::ALL {
                    let number = define(kind(event.value()), &event.name(issuer));
                    set(&mut numbers, event.place(), number);
                }
            }
            of_keys.push(numbers);
        }
        let mut claims = Vec::new();
        for header in claim_headers {
            claims.push(define(MetricKind::Counter, &claims_dropped(header)));
        }
        let fetches_keys = of_keys.iter().any(|numbers| !numbers.is_empty());
        let call_time = |is_needed: bool, name| {
            if is_needed { define(MetricKind::Histogram, name) } else { None }
        };
        Self {
            counters,
            waiting: define(MetricKind::Gauge, WAITING),
            call_time: call_time(true, CALL_TIME),
            token_call_time: call_time(!of_clients.is_empty(), TOKEN_CALL_TIME),
            key_call_time: call_time(fetches_keys, KEY_CALL_TIME),
            clients: of_clients,
            keys: of_keys,
            claims_dropped: claims,
        }
    }

    /// These clients and keys are no longer updated: their gauges are set to zero.
    pub fn forget<H: Metrics>(&self, host: &H, reports: &Reports) {
        for numbers in &self.clients {
            for gauge in ClientGauge::ALL {
                let place = ClientEvent::Gauge(*gauge, 0).place();
                note(record(host, at(numbers, place), 0), host, reports);
            }
        }
        for numbers in &self.keys {
            note(record(host, at(numbers, KeyEvent::Age(0).place()), 0), host, reports);
        }
    }

    /// Adds an event.
    pub fn add<H: Metrics>(&self, host: &H, reports: &Reports, event: Event) {
        note(self.update(host, event), host, reports);
    }

    /// Updates the metric of an event.
    fn update<H: Metrics>(&self, host: &H, event: Event) -> Result<(), HostError> {
        match event {
            Event::Count(counter) => increment(host, at(&self.counters, counter.place()), 1),
            Event::Waiting(more) => increment(host, self.waiting, more),
            Event::CallTime(millis) => record(host, self.call_time, millis),
            Event::TokenCallTime(millis) => record(host, self.token_call_time, millis),
            Event::KeyCallTime(millis) => record(host, self.key_call_time, millis),
            Event::Dropped(dropped) => {
                increment(host, at(&self.claims_dropped, dropped.header.index()), 1)
            }
            Event::Client(client, event) => {
                let numbers = self.clients.get(client.index());
                update(host, numbers, event.place(), event.value())
            }
            Event::Keys(issuer, event) => {
                let numbers = self.keys.get(issuer.index());
                update(host, numbers, event.place(), event.value())
            }
        }
    }
}

/// The kind of a metric: only gauges have values.
fn kind(value: Option<u64>) -> MetricKind {
    match value {
        Some(_) => MetricKind::Gauge,
        None => MetricKind::Counter,
    }
}

/// Sets the gauge at this place to a value, or increments the counter if there is none.
fn update<H: Metrics>(
    host: &H,
    numbers: Option<&Numbers>,
    place: usize,
    value: Option<u64>,
) -> Result<(), HostError> {
    let number = numbers.and_then(|numbers| at(numbers, place));
    match value {
        Some(value) => record(host, number, value),
        None => increment(host, number, 1),
    }
}

/// The number of the metric at this place.
fn at(numbers: &Numbers, place: usize) -> Option<u32> {
    numbers.get(place).copied().flatten()
}

/// Records a value, unless the host has refused the metric.
fn record<H: Metrics>(host: &H, number: Option<u32>, value: u64) -> Result<(), HostError> {
    number.map_or(Ok(()), |number| host.record_metric(number, value))
}

/// Increments a metric, unless the host has refused it.
fn increment<H: Metrics>(host: &H, number: Option<u32>, by: i64) -> Result<(), HostError> {
    number.map_or(Ok(()), |number| host.increment_metric(number, by))
}

/// Logs that a metric was not updated.
fn note<H: Metrics>(updated: Result<(), HostError>, host: &H, reports: &Reports) {
    if let Err(error) = updated
        && let Some(times) = reports.metrics.due(host)
    {
        warn!("failed to update a metric ({times} so far): {error}");
    }
}

/// The host's number of a metric.
pub(super) fn number<H: ProxyWasm>(
    host: &H,
    defined: &Defined,
    kind: MetricKind,
    name: &str,
) -> Option<u32> {
    let mut defined = defined.borrow_mut();
    let place = match defined.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
        Ok(place) => return defined.get(place).map(|(_, number)| *number),
        Err(place) => place,
    };
    match host.define_metric(kind, name) {
        Ok(number) => {
            defined.insert(place, (name.to_owned(), number));
            Some(number)
        }
        Err(error) => {
            warn!("failed to define metric {name}: {error}");
            None
        }
    }
}

/// Puts a number at its place.
fn set(numbers: &mut Numbers, place: usize, number: Option<u32>) {
    if numbers.len() <= place {
        numbers.resize(place.saturating_add(1), None);
    }
    if let Some(at) = numbers.get_mut(place) {
        *at = number;
    }
}
