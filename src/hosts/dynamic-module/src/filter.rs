//! One configuration of the filter: a decider in each worker thread, and their fetcher.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};

use log::{error, warn};
use oauth2_filter_core::{CallFailure, Configuration, Environment, Event, SecretPlace, StreamId};
use oauth2_filter_driver::{HostCall, HostError, Metrics as _, Statistics};

use super::callers::{Caller, Callers, FetcherCall};
use super::envoy::{self, NewConfig};
use super::fetching::Fetching;
use super::locked::lock;
use super::metrics::Defined;
use super::request::RouteAddress;
use super::routes::{Documents, Routes};
use super::secrets::{self, ReadSecret};
use super::shared::{Shared, TICKER, ToMain};
use super::sign::sign;
use super::verify::verify;
use super::worker::Slot;

/// The name of the filter in the configuration of Envoy.
const NAME: &str = "oauth2";

/// Why a document for a route has no secret of Envoy's.
const NO_SDS: &str = "not in a document for a route, to which Envoy gives no secrets; use `file`, or \
                      the document of the filter";

/// The configurations of the process, and what they make calls with.
#[derive(Default)]
pub(crate) struct Process {
    pub(crate) callers: Callers<FilterConfig>,
    documents: Documents,
    /// The configurations, some of which may be gone.
    filters: Mutex<Vec<Weak<FilterConfig>>>,
}

/// The configurations of the process, and what they make calls with.
pub(crate) static PROCESS: LazyLock<Process> = LazyLock::new(Process::default);

impl Process {
    /// A caller is gone, and Envoy does not announce the ends of its calls.
    pub(crate) fn reset_calls(&self, caller: &Caller) {
        for flight in self.callers.remove(caller) {
            let call = flight.call();
            if !flight.filter.shared.post(ToMain::CallEnded(call, CallFailure::Unreachable)) {
                flight.filter.abandon(call);
            }
        }
    }

    /// Loads a document for a route. The reason for `None` is in the log.
    pub(crate) fn load_document(&self, name: &[u8], document: &[u8]) -> Option<RouteAddress> {
        let configuration = load(name, document, &|_, _| Err(NO_SDS.to_owned()))?;
        let configuration = Arc::new(configuration);
        let address = NonZeroUsize::new(Arc::as_ptr(&configuration).addr())?;
        self.documents.insert(address, configuration);
        Some(address)
    }

    /// Envoy destroys a document for a route, in any thread.
    pub(crate) fn document_destroyed(&self, address: RouteAddress) {
        let document = self.documents.remove(address);
        for filter in self.filters() {
            filter.routes.remove(address).iter().for_each(FilterConfig::leave);
        }
        // Only now may another document get this address.
        drop(document);
    }

    /// The configurations.
    fn filters(&self) -> Vec<Arc<FilterConfig>> {
        lock(&self.filters).iter().filter_map(Weak::upgrade).collect()
    }
}

/// One configuration of the filter, or of a route in it.
pub(crate) struct FilterConfig {
    pub(crate) shared: Arc<Shared>,
    /// One for each worker thread, by its number.
    slots: Vec<Slot>,
    /// The fetcher, which the main thread runs.
    pub(crate) fetching: Mutex<Fetching>,
    /// Whether the fetcher follows calls of other configurations.
    pub(crate) follows: AtomicBool,
    /// The configurations of routes in this filter.
    routes: Routes<Self>,
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
        let shared = Shared::new(configuration, (defined, metrics, statistics), caller);
        let filter = Self::new(shared, envoy::concurrency());
        PROCESS.callers.add(Arc::clone(&filter.shared.caller));
        filter.shared.with_metrics(|metrics| {
            metrics.create();
        });
        // Its delivery shows that Envoy has accepted the configuration.
        filter.shared.caller.schedule();
        Some(filter)
    }

    /// The configuration of a route in this filter.
    fn with_document(&self, configuration: Configuration) -> Arc<Self> {
        let defined = self.shared.defined.copy();
        let unknown = HostError { call: HostCall::DefineMetric, status: 1 };
        let define = |kind, name: &str| defined.define(kind, name, |_| Err(unknown));
        let statistics = Statistics::define(
            define,
            configuration.clients(),
            configuration.claim_headers(),
            configuration.key_issuers(),
        );
        let metrics = defined.metrics();
        let caller = Arc::clone(&self.shared.caller);
        let shared = Shared::new(configuration, (defined, metrics, statistics), caller);
        Self::new(shared, u32::try_from(self.slots.len()).unwrap_or_default())
    }

    fn new(shared: Shared, workers: u32) -> Arc<Self> {
        let configuration = &shared.configuration;
        let filter = Arc::new(Self {
            slots: (0..workers).map(|worker| Slot::new(configuration, worker, workers)).collect(),
            fetching: Mutex::new(Fetching::new(configuration.fetcher())),
            shared: Arc::new(shared),
            follows: AtomicBool::new(false),
            routes: Routes::default(),
        });
        lock(&PROCESS.filters).push(Arc::downgrade(&filter));
        filter
    }

    /// The configuration of a document in this filter; `None` if it is not one of this module.
    pub(crate) fn of_route(&self, address: RouteAddress) -> Option<Arc<Self>> {
        let make = |document: &Configuration| self.with_document(document.clone());
        self.routes.get(address, &PROCESS.documents, make)
    }

    /// The filter itself, and the configurations in it for which the main thread has something to do.
    pub(crate) fn with_work(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut configs = self.routes.all();
        configs.retain(|config| config.shared.has_work());
        configs.insert(0, Arc::clone(self));
        configs
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

    /// Passes on the counts of workers, on the main thread.
    pub(crate) fn flush(&self) {
        if !self.shared.take_flush() {
            return;
        }
        // Without these functions, the next request of each worker passes its counts on.
        self.shared.with_metrics(|metrics| {
            for (number, by) in self.slots.iter().flat_map(Slot::take_counts) {
                let _ = metrics.increment_metric(number, by);
            }
        });
    }

    /// Counts events on the main thread.
    pub(crate) fn count(&self, events: Vec<Event>) {
        let Shared { statistics, reports, .. } = &*self.shared;
        let mut events = Some(events);
        self.shared.with_metrics(|metrics| {
            for event in events.take().into_iter().flatten() {
                statistics.add(metrics, reports, event);
            }
        });
        // The next request in any worker counts them.
        if let (Some(slot), Some(events)) = (self.slots.first(), events)
            && !events.is_empty()
        {
            slot.count_later(events);
        }
    }

    /// Envoy destroys the configuration of the filter, in any thread.
    pub(crate) fn destroyed(self: &Arc<Self>) {
        self.routes.take().iter().for_each(Self::leave);
        self.leave();
        let config = self.shared.caller.destroyed();
        PROCESS.reset_calls(&self.shared.caller);
        drop(config);
        let filters = lock(&PROCESS.filters);
        if filters.is_empty() {
            drop(filters);
            TICKER.end();
        }
    }

    /// Nothing needs this configuration any more. A request that still waits is denied.
    pub(crate) fn leave(self: &Arc<Self>) {
        self.shared.destroy();
        self.flush();
        let Shared { statistics, reports, .. } = &*self.shared;
        self.shared.with_metrics(|metrics| statistics.forget(metrics, reports));
        TICKER.set(&self.shared, None);
        self.slots.iter().for_each(Slot::lose_waiting);
        let mut filters = lock(&PROCESS.filters);
        filters.retain(|filter| filter.upgrade().is_some_and(|other| !Arc::ptr_eq(&other, self)));
    }

    /// Fails a call of a configuration that is gone, so that other configurations need not wait for
    /// its lease to end.
    fn abandon(&self, call: FetcherCall) {
        if let Ok(now) = envoy::now() {
            lock(&self.fetching).abandon(call, now);
        }
    }

    /// The other configurations that follow calls.
    pub(crate) fn followers(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut filters = PROCESS.filters();
        filters.retain(|other| other.follows.load(Ordering::Relaxed) && !Arc::ptr_eq(other, self));
        filters
    }
}

impl fmt::Debug for FilterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterConfig").finish_non_exhaustive()
    }
}
