//! The proxy's statistics. If the host rejects a metric, only that metric is missing.

use std::cell::RefCell;

use log::warn;

use super::interface::{HostError, MetricKind, Metrics, ProxyWasm};
use super::reports::Reports;
use oauth2_filter_core::{
    CALL_TIME, ClientEvent, Counter, Event, TOKEN_CALL_TIME, WAITING, claims_dropped,
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
    /// The metrics of each outbound client, each event at its place.
    clients: Vec<Numbers>,
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
    ) -> Self {
        let counters = Counter::all()
            .map(|counter| (counter.place(), define(MetricKind::Counter, &counter.name())));
        let of_client = |client: &str| {
            let event = |event: ClientEvent| {
                let kind = match event {
                    ClientEvent::Gauge(..) => MetricKind::Gauge,
                    _ => MetricKind::Counter,
                };
                (event.place(), define(kind, &event.name(client)))
            };
            at_places(ClientEvent::all().map(event))
        };
        let mut of_clients = Vec::new();
        for client in clients {
            of_clients.push(of_client(client));
        }
        let mut claims = Vec::new();
        for header in claim_headers {
            claims.push(define(MetricKind::Counter, &claims_dropped(header)));
        }
        Self {
            counters: at_places(counters),
            waiting: define(MetricKind::Gauge, WAITING),
            call_time: define(MetricKind::Histogram, CALL_TIME),
            token_call_time: if of_clients.is_empty() {
                None
            } else {
                define(MetricKind::Histogram, TOKEN_CALL_TIME)
            },
            clients: of_clients,
            claims_dropped: claims,
        }
    }

    /// These clients are no longer updated: their gauges are set to zero.
    pub fn forget<H: Metrics>(&self, host: &H, reports: &Reports) {
        for numbers in &self.clients {
            for event in ClientEvent::all() {
                if let ClientEvent::Gauge(gauge, _) = event {
                    note(update_client(host, numbers, ClientEvent::Gauge(gauge, 0)), host, reports);
                }
            }
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
            Event::Dropped(dropped) => {
                increment(host, at(&self.claims_dropped, dropped.header.index()), 1)
            }
            Event::Client(client, event) => {
                let numbers = self.clients.get(client.index());
                numbers.map_or(Ok(()), |numbers| update_client(host, numbers, event))
            }
        }
    }
}

/// Updates the metric of a client's event.
fn update_client<H: Metrics>(
    host: &H,
    numbers: &Numbers,
    event: ClientEvent,
) -> Result<(), HostError> {
    let number = at(numbers, event.place());
    match event {
        ClientEvent::Gauge(_, value) => record(host, number, value),
        _ => increment(host, number, 1),
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

/// A list of numbers, each at its place.
fn at_places(numbers: impl Iterator<Item = (usize, Option<u32>)>) -> Numbers {
    let mut list = Vec::new();
    for (place, number) in numbers {
        if list.len() <= place {
            list.resize(place.saturating_add(1), None);
        }
        if let Some(at) = list.get_mut(place) {
            *at = number;
        }
    }
    list
}
