//! What the threads of one configuration share: its document, its metrics, and messages for the
//! main thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use oauth2_filter_core::{CallFailure, Configuration, Event, Lookups, StreamId};
use oauth2_filter_driver::{Reports, Statistics};

use super::callers::{Caller, FetcherCall};
use super::envoy::MainMetrics;
use super::locked::lock;
use super::metrics::{Defined, Metrics};
use super::ticker::{Ticker, Timed};

/// How long a worker may keep counts.
const FLUSH: Duration = Duration::from_millis(100);

/// The timer of all fetchers.
pub(crate) static TICKER: LazyLock<Ticker<Shared>> = LazyLock::new(Ticker::default);

/// What the threads of a configuration share.
pub(crate) struct Shared {
    pub(crate) configuration: Configuration,
    /// All metrics that a configuration can have, which Envoy defines only once.
    pub(crate) defined: Defined,
    pub(crate) metrics: Metrics,
    pub(crate) statistics: Statistics,
    pub(crate) reports: Reports,
    /// The configuration of Envoy.
    pub(crate) caller: Arc<Caller>,
    /// Messages for the main thread.
    inbox: Mutex<Vec<ToMain>>,
    /// Whether a tick is due.
    is_tick_due: AtomicBool,
    /// Whether workers have counts that Envoy does not have yet.
    has_counts: AtomicBool,
    /// Whether it is destroyed, so that nobody handles its messages.
    is_destroyed: AtomicBool,
}

/// A message for the main thread.
pub(crate) enum ToMain {
    Lookups(Lookups),
    StreamEnded(StreamId),
    CallEnded(FetcherCall, CallFailure),
    Count(Event),
}

impl Shared {
    pub(crate) fn new(
        configuration: Configuration,
        (defined, metrics, statistics): (Defined, Metrics, Statistics),
        caller: Arc<Caller>,
    ) -> Self {
        Self {
            configuration,
            defined,
            metrics,
            statistics,
            reports: Reports::default(),
            caller,
            inbox: Mutex::default(),
            is_tick_due: AtomicBool::new(false),
            has_counts: AtomicBool::new(false),
            is_destroyed: AtomicBool::new(false),
        }
    }

    /// Whether the main thread has something to do for it.
    pub(crate) fn has_work(&self) -> bool {
        self.is_tick_due.load(Ordering::Relaxed)
            || self.has_counts.load(Ordering::Relaxed)
            || !lock(&self.inbox).is_empty()
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
            TICKER.once(self, FLUSH);
        }
    }

    /// Whether workers had counts, which are passed on now.
    pub(crate) fn take_flush(&self) -> bool {
        self.has_counts.swap(false, Ordering::Relaxed)
    }

    /// Runs `with` with its metrics on the main thread; `None` if Envoy has no functions for that.
    pub(crate) fn with_metrics<R>(&self, with: impl FnOnce(&MainMetrics<'_>) -> R) -> Option<R> {
        let with = |config: &_| MainMetrics::new(config, &self.metrics).as_ref().map(with);
        self.caller.with(with).flatten()
    }

    /// It is being destroyed: nobody handles its messages any more.
    pub(crate) fn destroy(&self) {
        self.is_destroyed.store(true, Ordering::Relaxed);
    }
}

impl Timed for Shared {
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
