//! Envoy's metrics by the numbers of the driver.

use std::cell::RefCell;
use std::sync::Mutex;

use log::warn;
use oauth2_filter_core::Timestamp;
use oauth2_filter_driver::{self as driver, HostError, MetricKind};

use super::abi::Buffer;
use super::locked::lock;

/// The metrics of one configuration, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Vec<Metric>);

/// A metric with labels.
#[derive(Clone, Debug)]
pub(crate) struct Metric {
    pub(crate) kind: MetricKind,
    /// Envoy's number of it, among those of its kind.
    pub(crate) id: usize,
    /// The values of its labels.
    pub(crate) labels: Vec<String>,
}

/// The maximum number of labels of a metric.
pub(crate) const LABELS: usize = 4;

/// The name of a metric, split: the core writes labels as pairs behind two parts of a name.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Name<'n> {
    /// Without labels.
    pub(crate) base: &'n str,
    /// The names and values of labels.
    pub(crate) labels: Vec<(&'n str, &'n str)>,
}

impl<'n> Name<'n> {
    /// Splits `oauth2_filter.requests.decision.denied.reason.inactive` into `oauth2_filter.requests`,
    /// and `decision` and `reason` with their values.
    pub(crate) fn split(name: &'n str) -> Self {
        let second = name.match_indices('.').nth(1);
        let Some((base, rest)) = second.and_then(|(at, _)| name.split_at_checked(at)) else {
            return Self { base: name, labels: Vec::new() };
        };
        let mut parts = rest.split('.').skip(1);
        let mut labels = Vec::new();
        while let (Some(label), Some(value)) = (parts.next(), parts.next()) {
            labels.push((label, value));
        }
        Self { base, labels }
    }
}

impl Metric {
    /// Calls `change` with Envoy's number and the labels.
    pub(crate) fn with<R>(&self, change: impl FnOnce(usize, &[Buffer]) -> R) -> R {
        let mut labels = [Buffer::NONE; LABELS];
        for (to, label) in labels.iter_mut().zip(&self.labels) {
            *to = Buffer::of(label.as_bytes());
        }
        change(self.id, labels.get(..self.labels.len()).unwrap_or_default())
    }
}

impl Metrics {
    /// The numbers of all metrics.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..).take(self.0.len())
    }

    /// The metric of a number.
    pub(crate) fn get(&self, number: u32) -> Option<&Metric> {
        self.0.get(usize::try_from(number).ok()?)
    }
}

/// Counts that Envoy does not have yet. To change a metric with labels costs it about a microsecond,
/// so that many changes within a millisecond are better made at once.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Numbers of counters, and by how much each has changed.
    changes: Vec<(u32, i64)>,
    /// When they were last passed on, and how often at that time.
    flushed: Option<(Timestamp, u8)>,
}

/// How often counts are passed on within a millisecond, so that a worker with little to do keeps
/// none.
const AT_ONCE: u8 = 2;

impl Counts {
    /// Whether they are worth passing on now.
    pub(crate) fn are_due(&self, now: Timestamp) -> bool {
        self.flushed.is_none_or(|(flushed, times)| flushed != now || times < AT_ONCE)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Passes them on.
    pub(crate) fn flush(&mut self, host: &impl driver::Metrics, now: Timestamp) {
        if self.changes.is_empty() {
            return;
        }
        for (number, by) in self.changes.drain(..) {
            // If Envoy refuses, there is nothing to be done about it.
            let _ = host.increment_metric(number, by);
        }
        let times = self.flushed.filter(|(flushed, _)| *flushed == now).map_or(0, |(_, n)| n);
        self.flushed = Some((now, times.saturating_add(1)));
    }

    /// Takes them out.
    pub(crate) fn take(&mut self) -> Vec<(u32, i64)> {
        std::mem::take(&mut self.changes)
    }
}

/// Keeps changes of counters, and passes all others on.
pub(crate) struct Counting<'c, H> {
    pub(crate) host: &'c H,
    pub(crate) metrics: &'c Metrics,
    pub(crate) counts: RefCell<&'c mut Counts>,
}

impl<H: driver::Metrics> driver::Metrics for Counting<'_, H> {
    fn now(&self) -> Result<Timestamp, HostError> {
        self.host.now()
    }

    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError> {
        self.host.record_metric(number, value)
    }

    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError> {
        let is_counter =
            self.metrics.get(number).is_some_and(|metric| metric.kind == MetricKind::Counter);
        if !is_counter {
            return self.host.increment_metric(number, by);
        }
        let changes = &mut self.counts.borrow_mut().changes;
        match changes.iter_mut().find(|(other, _)| *other == number) {
            Some((_, sum)) => *sum = sum.saturating_add(by),
            None => changes.push((number, by)),
        }
        Ok(())
    }
}

/// Collects metrics while they are defined.
#[derive(Debug, Default)]
pub(crate) struct Defined(Mutex<Vec<(String, Metric)>>);

impl Defined {
    /// Defines a metric, and returns its number. `define` defines one in Envoy, which has one for
    /// all values of its labels.
    pub(crate) fn define(
        &self,
        kind: MetricKind,
        name: &str,
        define: impl FnOnce(&Name<'_>) -> Result<usize, HostError>,
    ) -> Option<u32> {
        let mut metrics = lock(&self.0);
        let split = Name::split(name);
        let known =
            metrics.iter().find(|(base, metric)| *base == split.base && metric.kind == kind);
        let id = match known {
            Some((_, metric)) => metric.id,
            None => match define(&split) {
                Ok(id) => id,
                Err(error) => {
                    warn!("failed to define metric {name}: {error}");
                    return None;
                }
            },
        };
        let labels = split.labels.iter().map(|(_, value)| (*value).to_owned()).collect();
        let number = u32::try_from(metrics.len()).ok()?;
        metrics.push((split.base.to_owned(), Metric { kind, id, labels }));
        Some(number)
    }

    /// The metrics that were defined so far.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(lock(&self.0).iter().map(|(_, metric)| metric.clone()).collect())
    }

    /// The same, for more metrics with the same names and other labels.
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(lock(&self.0).clone()))
    }
}

#[cfg(test)]
mod tests {
    use oauth2_filter_core::{ClientEvent, Counter, KeyEvent};

    use super::*;

    #[test]
    fn names_are_split_into_labels() {
        let split = Name::split("oauth2_filter.requests.decision.denied.reason.inactive");
        let labels = vec![("decision", "denied"), ("reason", "inactive")];
        assert_eq!(split, Name { base: "oauth2_filter.requests", labels });
        let split = Name::split("oauth2_filter.waiting_requests");
        assert_eq!(split, Name { base: "oauth2_filter.waiting_requests", labels: Vec::new() });
    }

    #[test]
    fn every_name_of_the_core_consists_of_a_base_and_pairs() {
        let names = Counter::all().map(Counter::name);
        let of_keys = KeyEvent::ALL.map(|event| event.name("https://as.test"));
        let of_clients = ClientEvent::all().map(|event| event.name("billing"));
        for name in names.chain(of_clients).chain(of_keys) {
            let split = Name::split(&name);
            let pairs = split.labels.iter().flat_map(|(label, value)| [*label, *value]);
            let joined: Vec<&str> = [split.base].into_iter().chain(pairs).collect();
            assert_eq!(joined.join("."), name);
            assert!(split.labels.len() <= LABELS, "{name}");
        }
    }

    #[test]
    fn one_metric_of_envoy_has_all_values_of_its_labels() {
        let defined = Defined::default();
        let define = |name, id| defined.define(MetricKind::Counter, name, |_| Ok(id));
        assert_eq!(define("a.b.c.d", 7), Some(0));
        assert_eq!(define("a.b.c.e", 8), Some(1));
        let metrics = defined.metrics();
        assert_eq!(
            metrics.get(1).map(|metric| (metric.id, metric.labels.concat())),
            Some((7, "e".to_owned()))
        );
    }
}
