//! The proxy's statistics.

use std::collections::HashMap;

use log::warn;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::client_metrics::ClientEvent;
use crate::metrics::{CALL_TIME, Counter, Event, TOKEN_CALL_TIME, WAITING};

/// The host's numbers of what is counted. All workers count into the same.
pub(super) struct Statistics {
    /// One for each counter.
    counters: HashMap<Counter, u32>,
    /// How many requests wait.
    waiting: Option<u32>,
    /// How long introspection calls take.
    call_time: Option<u32>,
    /// How long calls to token endpoints take.
    token_call_time: Option<u32>,
    /// What each outbound client has.
    clients: Vec<HashMap<ClientEvent, u32>>,
}

impl Statistics {
    /// Makes all of them known, so that what has not happened yet shows as zero.
    pub(super) fn define<'c>(clients: impl Iterator<Item = &'c str>) -> Self {
        let define = |kind, name: &str| {
            let number = hostcalls::define_metric(kind, name).ok();
            if number.is_none() {
                warn!("the host does not count {name}");
            }
            number
        };
        let counter =
            |counter: Counter| Some((counter, define(MetricType::Counter, &counter.name())?));
        let of_client = |client: &str| {
            let event = |event: ClientEvent| {
                let kind = match event {
                    ClientEvent::Gauge(..) => MetricType::Gauge,
                    _ => MetricType::Counter,
                };
                Some((event, define(kind, &event.name(client))?))
            };
            ClientEvent::all().filter_map(event).collect()
        };
        let clients: Vec<_> = clients.map(of_client).collect();
        let has_clients = !clients.is_empty();
        Self {
            counters: Counter::all().filter_map(counter).collect(),
            waiting: define(MetricType::Gauge, WAITING),
            call_time: define(MetricType::Histogram, CALL_TIME),
            token_call_time: has_clients
                .then(|| define(MetricType::Histogram, TOKEN_CALL_TIME))
                .flatten(),
            clients,
        }
    }

    /// Adds an event. A number that the host does not take is missing, and nothing else.
    pub(super) fn add(&self, event: Event) {
        let record = |number: Option<&u32>, value| {
            let _ = number.map(|number| hostcalls::record_metric(*number, value));
        };
        let increment = |number: Option<&u32>, more| {
            let _ = number.map(|number| hostcalls::increment_metric(*number, more));
        };
        match event {
            Event::Count(counter) => increment(self.counters.get(&counter), 1),
            Event::Waiting(more) => increment(self.waiting.as_ref(), more),
            Event::CallTime(millis) => record(self.call_time.as_ref(), millis),
            Event::TokenCallTime(millis) => record(self.token_call_time.as_ref(), millis),
            Event::Client(client, event) => {
                let Some(numbers) = self.clients.get(client) else { return };
                match event {
                    ClientEvent::Gauge(gauge, value) => {
                        record(numbers.get(&ClientEvent::Gauge(gauge, 0)), value);
                    }
                    event => increment(numbers.get(&event), 1),
                }
            }
        }
    }
}
