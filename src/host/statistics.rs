//! The proxy's statistics.

use std::collections::HashMap;

use log::warn;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::metrics::{CALL_TIME, Counter, Event, WAITING};

/// The host's numbers of what is counted. All workers count into the same.
pub(super) struct Statistics {
    /// One for each counter.
    counters: HashMap<Counter, u32>,
    /// How many requests wait.
    waiting: Option<u32>,
    /// How long calls take.
    call_time: Option<u32>,
}

impl Statistics {
    /// Makes all of them known, so that what has not happened yet shows as zero.
    pub(super) fn define() -> Self {
        let define = |kind, name: &str| {
            let number = hostcalls::define_metric(kind, name).ok();
            if number.is_none() {
                warn!("the host does not count {name}");
            }
            number
        };
        let counter =
            |counter: Counter| Some((counter, define(MetricType::Counter, &counter.name())?));
        Self {
            counters: Counter::all().filter_map(counter).collect(),
            waiting: define(MetricType::Gauge, WAITING),
            call_time: define(MetricType::Histogram, CALL_TIME),
        }
    }

    /// Adds an event.
    pub(super) fn add(&self, event: Event) {
        let added = match event {
            Event::Count(counter) => self.counters.get(&counter).map(|n| (*n, 1)),
            Event::Waiting(more) => self.waiting.map(|n| (n, more)),
            Event::CallTime(millis) => {
                // A number that the host does not take is missing, and nothing else.
                let _ = self.call_time.map(|number| hostcalls::record_metric(number, millis));
                None
            }
        };
        let _ = added.map(|(number, more)| hostcalls::increment_metric(number, more));
    }
}
