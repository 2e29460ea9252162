//! Calls to authorization servers, which only the main thread makes.
//!
//! A call belongs to the configuration of Envoy through which it was made, and is reset when that
//! is destroyed. So calls are made through the bootstrap extension, whose configuration lives as
//! long as the process; or else through the newest configuration of a filter, whichever fetcher needs
//! them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use fnv::FnvHashMap;
use log::error;
use oauth2_filter_core::{Call, CallFailure, CallId, Timestamp};
use oauth2_filter_driver::InFlight;

use super::envoy::{Config, NewConfig};
use super::locked::{lock, read, write};

/// A configuration of Envoy through which calls are made and its main thread is woken.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Identifies it among all that live.
    address: usize,
    /// `None` once it is being destroyed.
    config: RwLock<Option<Config>>,
    /// Whether Envoy has accepted it: the first event that it schedules was delivered.
    is_accepted: AtomicBool,
    /// Whether it lives as long as the process.
    is_bootstrap: bool,
}

impl Caller {
    /// The configuration of a filter.
    pub(crate) fn new(config: Config) -> Self {
        let (address, is_accepted) = (config.address(), AtomicBool::new(false));
        Self { address, config: RwLock::new(Some(config)), is_accepted, is_bootstrap: false }
    }

    /// Loads the bootstrap extension. The reason for `None` is in the log.
    pub(crate) fn bootstrap(config: NewConfig<'_>, document: &[u8]) -> Option<Arc<Self>> {
        if !document.is_empty() {
            error!("the bootstrap extension has no configuration: leave extension_config out");
            return None;
        }
        let caller = Self::new(config.finish_bootstrap());
        let caller = Self { is_bootstrap: true, is_accepted: AtomicBool::new(true), ..caller };
        Some(Arc::new(caller))
    }

    /// Has Envoy call the hook for scheduled events on the main thread. Returns whether it will.
    pub(crate) fn schedule(&self) -> bool {
        let config = read(&self.config);
        config.as_ref().inspect(|config| config.schedule()).is_some()
    }

    /// Runs `with` with the configuration, unless it is being destroyed.
    pub(crate) fn with<R>(&self, with: impl FnOnce(&Config) -> R) -> Option<R> {
        read(&self.config).as_ref().map(with)
    }

    /// Whether it is not being destroyed.
    pub(crate) fn is_alive(&self) -> bool {
        read(&self.config).is_some()
    }

    /// Envoy has delivered an event.
    pub(crate) fn accepted(&self) {
        self.is_accepted.store(true, Ordering::Relaxed);
    }

    /// The configuration is being destroyed.
    pub(crate) fn destroyed(&self) -> Option<Config> {
        write(&self.config).take()
    }
}

/// Identifies a call: the caller's address, and Envoy's number.
type CallKey = (usize, u64);

/// A call, and the configuration whose fetcher needs its result.
#[derive(Debug)]
pub(crate) struct Flight<F> {
    pub(crate) filter: Arc<F>,
    pub(crate) fetcher: FetcherId,
    pub(crate) call: InFlight,
}

/// Identifies a fetcher among those of a configuration. One that takes the place of another numbers
/// its calls from the start, and must not get the responses to the other's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FetcherId(u64);

impl FetcherId {
    /// The fetcher that takes its place.
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl<F> Flight<F> {
    /// The call, as its fetcher knows it.
    pub(crate) fn call(&self) -> FetcherCall {
        FetcherCall { fetcher: self.fetcher, id: self.call.id }
    }
}

/// A call of a fetcher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetcherCall {
    pub(crate) fetcher: FetcherId,
    pub(crate) id: CallId,
}

/// All callers, and the calls in flight for the fetchers of configurations `F`.
pub(crate) struct Callers<F> {
    /// From the oldest to the newest.
    callers: Mutex<Vec<Arc<Caller>>>,
    flights: Mutex<FnvHashMap<CallKey, Flight<F>>>,
}

impl<F> Default for Callers<F> {
    fn default() -> Self {
        Self { callers: Mutex::default(), flights: Mutex::default() }
    }
}

impl<F> Callers<F> {
    pub(crate) fn add(&self, caller: Arc<Caller>) {
        lock(&self.callers).push(caller);
    }

    /// Removes a caller. Returns the calls that were made through it, whose ends Envoy does not
    /// announce.
    pub(crate) fn remove(&self, caller: &Caller) -> Vec<Flight<F>> {
        lock(&self.callers).retain(|other| other.address != caller.address);
        let mut flights = lock(&self.flights);
        let gone: Vec<CallKey> =
            flights.keys().filter(|(address, _)| *address == caller.address).copied().collect();
        gone.iter().filter_map(|key| flights.remove(key)).collect()
    }

    /// Makes a call for the fetcher of a configuration. It has a `caller`, too, for when no other was
    /// accepted yet.
    ///
    /// # Errors
    /// The call was not made.
    pub(crate) fn call(
        &self,
        (filter, fetcher): (&Arc<F>, FetcherId),
        caller: &Arc<Caller>,
        call: &Call,
        now: Timestamp,
    ) -> Result<(), CallFailure> {
        let lasting = {
            let callers = lock(&self.callers);
            let is_accepted = |caller: &&Arc<Caller>| caller.is_accepted.load(Ordering::Relaxed);
            let bootstrap = callers.iter().find(|caller| caller.is_bootstrap);
            bootstrap.or_else(|| callers.iter().rev().find(is_accepted)).cloned()
        };
        let caller = lasting.unwrap_or_else(|| Arc::clone(caller));
        let number =
            caller.with(|config| config.http_call(call)).unwrap_or(Err(CallFailure::NotSent))?;
        let call = InFlight { id: call.id, started: now, timeout: call.timeout };
        let flight = Flight { filter: Arc::clone(filter), fetcher, call };
        lock(&self.flights).insert((caller.address, number), flight);
        Ok(())
    }

    /// The calls of a fetcher that are in flight.
    pub(crate) fn calls_of(&self, filter: &Arc<F>, id: FetcherId) -> Vec<FetcherCall> {
        let flights = lock(&self.flights);
        let of_it =
            |flight: &&Flight<F>| flight.fetcher == id && Arc::ptr_eq(&flight.filter, filter);
        flights.values().filter(of_it).map(Flight::call).collect()
    }

    /// Takes out a call that has ended.
    pub(crate) fn ended(&self, caller: &Caller, number: u64) -> Option<Flight<F>> {
        lock(&self.flights).remove(&(caller.address, number))
    }
}
