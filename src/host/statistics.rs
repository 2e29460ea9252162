//! The proxy's statistics.

use std::cell::RefCell;

use log::warn;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::client_metrics::ClientEvent;
use crate::metrics::{CALL_TIME, Counter, Event, TOKEN_CALL_TIME, WAITING};

/// The host's numbers of what is counted. All workers count into the same.
pub(super) struct Statistics {
    /// One for each counter, at its place.
    counters: Numbers,
    /// How many requests wait.
    waiting: Option<u32>,
    /// How long introspection calls take.
    call_time: Option<u32>,
    /// How long calls to token endpoints take.
    token_call_time: Option<u32>,
    /// What each outbound client has, each event at its place.
    clients: Vec<Numbers>,
}

/// The host's numbers; none where it does not count.
type Numbers = Vec<Option<u32>>;

impl Statistics {
    /// Makes all of them known, so that what has not happened yet shows as zero.
    pub(super) fn define<'c>(clients: impl Iterator<Item = &'c str>) -> Self {
        let counters = Counter::all()
            .map(|counter| (counter.place(), define(MetricType::Counter, &counter.name())));
        let of_client = |client: &str| {
            let event = |event: ClientEvent| {
                let kind = match event {
                    ClientEvent::Gauge(..) => MetricType::Gauge,
                    _ => MetricType::Counter,
                };
                (event.place(), define(kind, &event.name(client)))
            };
            at_places(ClientEvent::all().map(event))
        };
        let clients: Vec<_> = clients.map(of_client).collect();
        let has_clients = !clients.is_empty();
        Self {
            counters: at_places(counters),
            waiting: define(MetricType::Gauge, WAITING),
            call_time: define(MetricType::Histogram, CALL_TIME),
            token_call_time: has_clients
                .then(|| define(MetricType::Histogram, TOKEN_CALL_TIME))
                .flatten(),
            clients,
        }
    }

    /// Nobody looks after these clients any more: what goes up and down goes to zero.
    pub(super) fn forget(&self) {
        for client in 0..self.clients.len() {
            for event in ClientEvent::all() {
                if let ClientEvent::Gauge(gauge, _) = event {
                    self.add(Event::Client(client, ClientEvent::Gauge(gauge, 0)));
                }
            }
        }
    }

    /// Adds an event. A number that the host does not take is missing, and nothing else.
    pub(super) fn add(&self, event: Event) {
        let at = |numbers: &Numbers, place: usize| numbers.get(place).copied().flatten();
        let record = |number: Option<u32>, value| {
            let _ = number.map(|number| hostcalls::record_metric(number, value));
        };
        let increment = |number: Option<u32>, more| {
            let _ = number.map(|number| hostcalls::increment_metric(number, more));
        };
        match event {
            Event::Count(counter) => increment(at(&self.counters, counter.place()), 1),
            Event::Waiting(more) => increment(self.waiting, more),
            Event::CallTime(millis) => record(self.call_time, millis),
            Event::TokenCallTime(millis) => record(self.token_call_time, millis),
            Event::Client(client, event) => {
                let Some(numbers) = self.clients.get(client) else { return };
                let number = at(numbers, event.place());
                match event {
                    ClientEvent::Gauge(_, value) => record(number, value),
                    _ => increment(number, 1),
                }
            }
        }
    }
}

thread_local! {
    /// The host's numbers by the names of metrics, which are in order. It keeps every number that it
    /// gives until the VM ends, so each configuration asks for those only that are new.
    static KNOWN: RefCell<Vec<(String, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The host's number of a metric.
fn define(kind: MetricType, name: &str) -> Option<u32> {
    KNOWN.with_borrow_mut(|known| {
        let place = known.binary_search_by(|(other, _)| other.as_str().cmp(name));
        let place = match place {
            Ok(place) => return known.get(place).map(|(_, number)| *number),
            Err(place) => place,
        };
        let number = hostcalls::define_metric(kind, name).ok();
        match number {
            Some(number) => known.insert(place, (name.to_owned(), number)),
            None => warn!("the host does not count {name}"),
        }
        number
    })
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
