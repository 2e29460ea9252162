//! One configuration of the filter: a decider in each worker thread, and their fetcher.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::Duration;

use log::{error, warn};
use oauth2_filter_core::{
    CallFailure, Configuration, Environment, Event, Lookups, SecretPlace, StreamId,
};
use oauth2_filter_driver::{HostCall, HostError, Metrics as _, Reports, Statistics};

use super::callers::{Caller, Callers, FetcherCall};
use super::envoy::{self, MainMetrics, NewConfig};
use super::locked::lock;
use super::main_thread::Main;
use super::metrics::{Defined, Metrics};
use super::routes::{Documents, Routes};
use super::secrets::{self, ReadSecret};
use super::sign::sign;
use super::store::MemoryStore;
use super::ticker::{Ticker, Timed};
use super::verify::verify;
use super::worker::Slot;

/// How long a worker may keep counts.
const FLUSH: Duration = Duration::from_millis(100);

/// The name of the filter in the configuration of Envoy.
const NAME: &str = "oauth2";

/// What all configurations of the process share.
pub(crate) struct Process {
    pub(crate) store: MemoryStore,
    pub(crate) callers: Callers<FilterConfig>,
    pub(crate) ticker: Ticker<FilterConfig>,
    pub(crate) documents: Documents,
    /// The configurations, some of which may be gone.
    pub(crate) filters: Mutex<Vec<Weak<FilterConfig>>>,
}

/// What all configurations of the process share.
pub(crate) static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    store: MemoryStore::new(),
    callers: Callers::default(),
    ticker: Ticker::default(),
    documents: Documents::default(),
    filters: Mutex::default(),
});

impl Process {
    /// A caller is gone, and Envoy does not announce the ends of its calls.
    pub(crate) fn reset_calls(&self, caller: &Caller) {
        for flight in self.callers.remove(caller) {
            let call = flight.call();
            if !flight.filter.post(ToMain::CallEnded(call, CallFailure::Unreachable)) {
                flight.filter.abandon(call);
            }
        }
    }
}

/// One configuration of the filter, or of a route in it.
pub(crate) struct FilterConfig {
    configuration: Configuration,
    /// All metrics that a configuration can have, which Envoy defines only once.
    pub(crate) defined: Defined,
    pub(crate) metrics: Metrics,
    pub(crate) statistics: Statistics,
    pub(crate) reports: Reports,
    /// One for each worker thread, by its number.
    slots: Vec<Slot>,
    /// The configuration of Envoy.
    pub(crate) caller: Arc<Caller>,
    /// The state of the main thread.
    pub(crate) main: Mutex<Main>,
    /// Messages for the main thread.
    inbox: Mutex<Vec<ToMain>>,
    /// Whether a tick is due.
    is_tick_due: AtomicBool,
    /// Whether workers have counts that Envoy does not have yet.
    has_counts: AtomicBool,
    /// Whether the fetcher follows calls of other configurations.
    pub(crate) follows: AtomicBool,
    /// Whether it is destroyed, so that nobody handles its messages.
    is_destroyed: AtomicBool,
    /// The configurations of routes in this filter.
    pub(crate) routes: Routes,
}

/// A message for the main thread.
pub(crate) enum ToMain {
    Lookups(Lookups),
    StreamEnded(StreamId),
    CallEnded(FetcherCall, CallFailure),
    Count(Event),
}

/// Loads a document. The reason for `None` is in the log.
pub(crate) fn load(
    name: &[u8],
    document: &[u8],
    subscribe: secrets::Subscribe<'_>,
) -> Option<Configuration> {
    if name != NAME.as_bytes() {
        let name = String::from_utf8_lossy(name);
        error!("filter_name is {name:?}; the filter of this module is {NAME:?}");
        return None;
    }
    let mut seed = [0; 16];
    if let Err(error) = getrandom::fill(&mut seed) {
        error!("failed to get random bytes: {error}");
        return None;
    }
    let variable = |name: &str| std::env::var(name).ok();
    let open = |place: SecretPlace<'_>| secrets::open(place, subscribe);
    // Functions of this host reach no value that is nested in metadata.
    let environment =
        Environment { variable: &variable, seed, sign, verify, reads_jwt_authn: false };
    let (configuration, warnings) = Configuration::load_with_sources(document, &environment, &open)
        .inspect_err(|mistakes| error!("{mistakes}"))
        .ok()?;
    for warning in warnings {
        warn!("{warning}");
    }
    Some(configuration)
}

impl FilterConfig {
    /// Loads a configuration. The reason for `None` is in the log.
    pub(crate) fn load(name: &[u8], document: &[u8], config: &NewConfig<'_>) -> Option<Arc<Self>> {
        let caller = Arc::new(Caller::new(config.finish()));
        let subscribe = |name: &str, source: Option<&str>| -> Result<ReadSecret, String> {
            let (id, caller) = (config.subscribe(name, source)?, Arc::clone(&caller));
            Ok(Box::new(move || caller.with(|config| config.secret(id))?))
        };
        let configuration = load(name, document, &subscribe)?;
        let defined = Defined::default();
        let define =
            |kind, name: &str| defined.define(kind, name, |name| config.define(kind, name));
        let statistics = Statistics::define(
            define,
            configuration.clients(),
            configuration.claim_headers(),
            configuration.key_issuers(),
        );
        let metrics = defined.metrics();
        // A route's document may have clients, headers and keys where that of the filter has none.
        let any = || [""].into_iter();
        Statistics::define(define, any(), any(), any().map(Some));
        let workers = envoy::concurrency();
        let filter = Self::new(configuration, workers, (defined, metrics, statistics), caller);
        PROCESS.callers.add(Arc::clone(&filter.caller));
        filter.caller.with(|config| {
            if let Some(metrics) = MainMetrics::new(config, &filter.metrics) {
                metrics.create();
            }
        });
        // Its delivery shows that Envoy has accepted the configuration.
        filter.caller.schedule();
        Some(filter)
    }

    /// The configuration of a route in this filter.
    pub(crate) fn with_document(&self, configuration: Configuration) -> Arc<Self> {
        let defined = self.defined.copy();
        let unknown = HostError { call: HostCall::DefineMetric, status: 1 };
        let define = |kind, name: &str| defined.define(kind, name, |_| Err(unknown));
        let statistics = Statistics::define(
            define,
            configuration.clients(),
            configuration.claim_headers(),
            configuration.key_issuers(),
        );
        let metrics = defined.metrics();
        let workers = u32::try_from(self.slots.len()).unwrap_or_default();
        let caller = Arc::clone(&self.caller);
        Self::new(configuration, workers, (defined, metrics, statistics), caller)
    }

    fn new(
        configuration: Configuration,
        workers: u32,
        (defined, metrics, statistics): (Defined, Metrics, Statistics),
        caller: Arc<Caller>,
    ) -> Arc<Self> {
        let filter = Arc::new(Self {
            slots: (0..workers).map(|worker| Slot::new(&configuration, worker, workers)).collect(),
            main: Mutex::new(Main::new(configuration.fetcher())),
            configuration,
            defined,
            metrics,
            statistics,
            reports: Reports::default(),
            caller,
            inbox: Mutex::default(),
            is_tick_due: AtomicBool::new(false),
            has_counts: AtomicBool::new(false),
            follows: AtomicBool::new(false),
            is_destroyed: AtomicBool::new(false),
            routes: Routes::default(),
        });
        lock(&PROCESS.filters).push(Arc::downgrade(&filter));
        filter
    }

    /// Whether the main thread has something to do for it.
    pub(crate) fn has_work(&self) -> bool {
        self.is_tick_due.load(Ordering::Relaxed)
            || self.has_counts.load(Ordering::Relaxed)
            || !lock(&self.inbox).is_empty()
    }

    /// What the filter reads of its configuration.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The state of a worker thread.
    pub(crate) fn slot(&self, worker: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(worker).ok()?)
    }

    /// The state of the worker thread in which a stream is.
    pub(crate) fn slot_of(&self, stream: StreamId) -> Option<&Slot> {
        self.slot(stream.0.checked_rem(u32::try_from(self.slots.len()).ok()?)?)
    }

    /// The states of all worker threads.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Posts a message to the main thread. Returns whether it will be handled.
    pub(crate) fn post(&self, message: ToMain) -> bool {
        let was_empty = {
            let mut inbox = lock(&self.inbox);
            inbox.push(message);
            inbox.len() == 1
        };
        // One event has the main thread handle all messages.
        (!was_empty || self.caller.schedule()) && !self.is_destroyed.load(Ordering::Relaxed)
    }

    /// The messages for the main thread.
    pub(crate) fn mail(&self) -> Vec<ToMain> {
        std::mem::take(&mut lock(&self.inbox))
    }

    /// Whether a tick was due, which is handled now.
    pub(crate) fn take_tick(&self) -> bool {
        self.is_tick_due.swap(false, Ordering::Relaxed)
    }

    /// A worker has counts that it does not pass on at once.
    pub(crate) fn flush_soon(self: &Arc<Self>) {
        if !self.has_counts.swap(true, Ordering::Relaxed) {
            PROCESS.ticker.once(self, FLUSH);
        }
    }

    /// Passes on the counts of workers, on the main thread.
    pub(crate) fn flush(&self) {
        if !self.has_counts.swap(false, Ordering::Relaxed) {
            return;
        }
        self.caller.with(|config| {
            // Without these functions, the next request of each worker passes its counts on.
            let Some(metrics) = MainMetrics::new(config, &self.metrics) else { return };
            for (number, by) in self.slots.iter().flat_map(Slot::take_counts) {
                let _ = metrics.increment_metric(number, by);
            }
        });
    }

    /// Counts events on the main thread.
    pub(crate) fn count(&self, events: impl Iterator<Item = Event>) {
        let Some(uncounted) = self.caller.with(|config| {
            let Some(metrics) = MainMetrics::new(config, &self.metrics) else {
                return events.collect();
            };
            events.for_each(|event| self.statistics.add(&metrics, &self.reports, event));
            Vec::new()
        }) else {
            return;
        };
        // The next request in any worker counts them.
        if let Some(slot) = self.slots.first()
            && !uncounted.is_empty()
        {
            slot.count_later(uncounted);
        }
    }

    /// Envoy destroys the configuration of the filter, in any thread.
    pub(crate) fn destroyed(self: &Arc<Self>) {
        self.routes.take().iter().for_each(Self::leave);
        self.leave();
        let config = self.caller.destroyed();
        PROCESS.reset_calls(&self.caller);
        drop(config);
        let filters = lock(&PROCESS.filters);
        if filters.is_empty() {
            drop(filters);
            PROCESS.ticker.end();
        }
    }

    /// Nothing needs this configuration any more. A request that still waits is denied.
    pub(crate) fn leave(self: &Arc<Self>) {
        self.is_destroyed.store(true, Ordering::Relaxed);
        self.flush();
        self.caller.with(|config| {
            if let Some(metrics) = MainMetrics::new(config, &self.metrics) {
                self.statistics.forget(&metrics, &self.reports);
            }
        });
        PROCESS.ticker.set(self, None);
        self.slots.iter().for_each(Slot::lose_waiting);
        let mut filters = lock(&PROCESS.filters);
        filters.retain(|filter| filter.upgrade().is_some_and(|other| !Arc::ptr_eq(&other, self)));
    }

    /// Fails a call of a configuration that is gone, so that other configurations need not wait for
    /// its lease to end.
    fn abandon(&self, call: FetcherCall) {
        if let Ok(now) = envoy::now() {
            lock(&self.main).abandon(call, now);
        }
    }

    /// The other configurations that follow calls.
    pub(crate) fn followers(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let filters = lock(&PROCESS.filters);
        let others = filters.iter().filter_map(Weak::upgrade);
        others
            .filter(|other| other.follows.load(Ordering::Relaxed) && !Arc::ptr_eq(other, self))
            .collect()
    }
}

impl Timed for FilterConfig {
    fn is_alive(&self) -> bool {
        !self.is_destroyed.load(Ordering::Relaxed) && self.caller.is_alive()
    }

    fn tick_due(&self) {
        // Unless the main thread has not handled the last one yet.
        if !self.is_tick_due.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.caller.schedule();
    }
}

impl fmt::Debug for FilterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterConfig").finish_non_exhaustive()
    }
}
