//! One configuration in one worker thread: its streams, its calls in flight, its timer.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use fnv::FnvHashMap;
use log::{error, warn};

use super::apply::Apply;
use super::data::HostData;
use super::head::RequestHead;
use super::in_flight::{InFlight, Moment};
use super::interface::{HostCall, HostError, ProxyWasm};
use super::reports::Reports;
use super::statistics::{Defined, Statistics, number};
use super::stream::Stream;
use oauth2_filter_core::{
    Context, Environment, Filter, Input, Output, SharedStore, Step, StreamId, Timestamp, Verdict,
};

/// The number of waiting streams that are completed in one callback.
const BATCH: usize = 64;

/// The pause between two batches.
const BATCH_PERIOD: Duration = Duration::from_millis(1);

/// How long the level of the log is not read again. The host does not report its changes, and a
/// call for each request would cost more than the lines are worth.
const LOG_LEVEL_PERIOD: Duration = Duration::from_secs(5);

/// One configuration in one worker thread. A VM may have several: other plugins, and the previous
/// configuration while requests still wait in it.
pub(super) struct Worker<H> {
    /// The root context.
    pub(super) root: u32,
    pub(super) host: H,
    /// Set once, by a valid configuration.
    pub(super) loaded: OnceCell<Loaded>,
    /// The calls in flight, by the host's number.
    pub(super) calls: RefCell<FnvHashMap<u32, InFlight>>,
    /// The streams with a state; not those that were simply forwarded.
    pub(super) streams: RefCell<FnvHashMap<StreamId, Stream>>,
    /// The pending decisions on waiting streams.
    pub(super) decided: RefCell<VecDeque<(StreamId, Result<Verdict, HostError>)>>,
    /// The time between two ticks, as set in the host; zero if there are none.
    tick_period: Cell<Duration>,
    /// When a request or tick last adopted the host's log level.
    log_level_read: Cell<Timestamp>,
    /// Whether the host only delivers the ends of calls.
    is_ending: Cell<bool>,
    pub(super) reports: Reports,
}

/// A valid configuration.
pub(super) struct Loaded {
    document: Vec<u8>,
    /// The filter that it describes.
    pub(super) filter: RefCell<Filter>,
    /// Its requests that are not carried out yet.
    pub(super) output: RefCell<Output>,
    pub(super) statistics: Statistics,
}

impl<H: ProxyWasm> Worker<H> {
    /// The worker of a root context that is not configured yet.
    pub(super) fn new(host: H, root: u32) -> Self {
        Self {
            root,
            host,
            loaded: OnceCell::new(),
            calls: RefCell::default(),
            streams: RefCell::default(),
            decided: RefCell::default(),
            tick_period: Cell::new(Duration::ZERO),
            log_level_read: Cell::new(Timestamp::from_millis(0)),
            is_ending: Cell::new(false),
            reports: Reports::default(),
        }
    }

    /// Loads a configuration. Whether it is valid.
    pub(super) fn configure(&self, document: Vec<u8>, metrics: &Defined) -> bool {
        if let Some(loaded) = self.loaded.get() {
            // Filters with one configuration share one root, and each configures it.
            return loaded.document == document;
        }
        let mut seed = [0; 16];
        if let Err(error) = self.host.random(&mut seed) {
            error!("failed to get random bytes: {error}");
            return false;
        }
        let variable = |name: &str| self.host.variable(name);
        let environment = Environment {
            variable: &variable,
            seed,
            sign: H::SIGN,
            verify: H::VERIFY,
            reads_jwt_authn: true,
        };
        match Filter::load(&document, &environment) {
            Ok((filter, warnings)) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                let define = |kind, name: &str| number(&self.host, metrics, kind, name);
                let statistics = Statistics::define(
                    define,
                    filter.clients(),
                    filter.claim_headers(),
                    filter.key_issuers(),
                );
                // What the filter fetches in advance begins with the first tick.
                let output = Output { timer: filter.tick_period(), ..Output::default() };
                let (filter, output) = (RefCell::new(filter), RefCell::new(output));
                let is_set =
                    self.loaded.set(Loaded { document, filter, output, statistics }).is_ok();
                self.keep_time();
                is_set
            }
            Err(mistakes) => {
                error!("{mistakes}");
                false
            }
        }
    }

    /// Decides on a request. Whether its headers are forwarded now.
    pub(super) fn request(&self, stream: StreamId, end_of_stream: bool) -> bool {
        let Some(Loaded { filter, .. }) = self.loaded.get() else {
            self.apply().answer(&Filter::unconfigured());
            self.remember(stream, Stream::Refused);
            return false;
        };
        let now = match self.host.now() {
            Ok(now) => now,
            Err(error) => {
                self.refuse(stream, error);
                return false;
            }
        };
        self.follow_log_level(now);
        let head = RequestHead::new(&self.host, end_of_stream);
        let moment = Moment { now, clock: Ok(()) };
        let step = self.handle(Input::Request(stream, &head), moment);
        let guards_trailers = !end_of_stream && filter.borrow().decider().guards_trailers();
        match (head.failure(), step) {
            (Some(error), _) => self.refuse(stream, error),
            (None, Step::Decided(verdict)) => {
                self.remember(stream, self.apply().carry_out(verdict, guards_trailers));
            }
            (None, Step::Waiting) => self.remember(stream, Stream::Waiting { guards_trailers }),
            // It did not decide on a request, so nothing may be forwarded.
            (None, Step::Nothing) => {
                self.refuse(stream, HostError { call: HostCall::OnRequestHeaders, status: 0 });
            }
        }
        self.count();
        self.make_calls(moment);
        self.keep_time();
        self.is_forwarded(stream)
    }

    /// Passes an input to the filter, and returns the decision on its stream. Everything else is
    /// carried out later.
    pub(super) fn handle(&self, input: Input<'_>, moment: Moment) -> Step {
        let Some(Loaded { filter, output, .. }) = self.loaded.get() else { return Step::Nothing };
        let output = &mut *output.borrow_mut();
        let data = self.data();
        let context = Context { now: moment.now, store: &SharedStore::new(&data) };
        let step = filter.borrow_mut().handle(input, context, output);
        let decided = |(stream, verdict)| (stream, moment.clock.map(|()| verdict));
        self.decided.borrow_mut().extend(output.decided.drain(..).map(decided));
        step
    }

    /// Stores the state of a request, if something depends on it. Otherwise, an earlier state must
    /// be removed first.
    pub(super) fn remember(&self, stream: StreamId, state: Stream) {
        if !state.is_over() {
            self.streams.borrow_mut().insert(stream, state);
        }
    }

    /// Whether it has a state for a stream.
    pub(super) fn remembers(&self, stream: StreamId) -> bool {
        self.streams.borrow().contains_key(&stream)
    }

    /// Whether what follows a request's headers is forwarded: if they have been.
    pub(super) fn is_forwarded(&self, stream: StreamId) -> bool {
        self.streams.borrow().get(&stream).is_none_or(|state| state.is_forwarded())
    }

    /// Removes reserved headers from a request's trailers. Whether they are forwarded now.
    pub(super) fn trailers(&self, stream: StreamId) -> bool {
        let state = self.streams.borrow().get(&stream).copied();
        let Some(state) = state else { return true };
        // Also for a waiting request: the host may not deliver them again.
        if state.guards_trailers()
            && let Err(error) = self.guard_trailers()
        {
            self.refuse(stream, error);
            return false;
        }
        state.is_forwarded()
    }

    fn guard_trailers(&self) -> Result<(), HostError> {
        let Some(Loaded { filter, .. }) = self.loaded.get() else { return Ok(()) };
        self.apply().guard_trailers(filter.borrow().decider())
    }

    /// The response to a request has arrived.
    pub(super) fn response(&self, stream: StreamId) {
        let state = self.streams.borrow().get(&stream).copied();
        let (Some(state), Some(Loaded { filter, .. })) = (state, self.loaded.get()) else { return };
        let is_refusal = |sent, status| filter.borrow().decider().is_refusal(sent, status);
        if let Some((sent, status)) = self.apply().response(state, is_refusal) {
            let Some(now) = self.clock() else { return };
            let _ = self.handle(Input::Response(sent, status), Moment { now, clock: Ok(()) });
            self.count();
        }
    }

    /// Denies a request, decided or not, because of a failure of the host.
    pub(super) fn refuse(&self, stream: StreamId, error: HostError) {
        self.remember(stream, self.apply().fail(error));
        self.forget(stream);
    }

    /// A stream has ended.
    pub(super) fn gone(&self, stream: StreamId) {
        let state = self.streams.borrow_mut().remove(&stream);
        if matches!(state, Some(Stream::Waiting { .. })) {
            self.forget(stream);
        }
    }

    /// Cancels pending decisions on a stream.
    pub(super) fn forget(&self, stream: StreamId) {
        if let Some(Loaded { filter, output, .. }) = self.loaded.get() {
            filter.borrow_mut().stream_ended(stream, &mut output.borrow_mut());
        }
        self.count();
    }

    /// The host only delivers the ends of calls from now on.
    pub(super) fn end(&self) {
        self.is_ending.set(true);
        self.keep_time();
        if let Some(Loaded { statistics, .. }) = self.loaded.get() {
            statistics.forget(&self.host, &self.reports);
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.is_ending.get() && self.calls.borrow().is_empty()
    }

    /// Carries out the next verdicts, and arranges ticks for the rest.
    pub(super) fn carry_out_batch(&self) {
        for _ in 0..BATCH {
            let Some((stream, verdict)) = self.decided.borrow_mut().pop_front() else { break };
            let state = self.streams.borrow().get(&stream).copied();
            // It may have ended or been denied after the decision.
            let Some(Stream::Waiting { guards_trailers }) = state else { continue };
            if let Err(error) = self.host.set_effective_context(stream.0) {
                self.remember(stream, Stream::Refused);
                self.apply().unanswered(error);
                continue;
            }
            let state = verdict.and_then(|verdict| {
                let state = self.apply().carry_out(verdict, guards_trailers);
                if state.is_forwarded() {
                    self.host.resume_request()?;
                }
                Ok(state)
            });
            self.streams.borrow_mut().remove(&stream);
            self.remember(stream, state.unwrap_or_else(|error| self.apply().fail(error)));
        }
        self.keep_time();
        self.count();
    }

    /// Sets the timer as currently required. If the host fails, the next callback tries again.
    pub(super) fn keep_time(&self) {
        let loaded = self.loaded.get().filter(|_| !self.is_ending.get());
        let wanted = loaded.and_then(|loaded| loaded.output.borrow().timer);
        let batch = (!self.decided.borrow().is_empty()).then_some(BATCH_PERIOD);
        let period = batch.or(wanted).unwrap_or(Duration::ZERO);
        if period == self.tick_period.get() {
            return;
        }
        // Ticks belong to the root.
        let set = self.host.set_effective_context(self.root);
        match set.and_then(|()| self.host.set_tick_period(period)) {
            Ok(()) => self.tick_period.set(period),
            Err(error) => {
                if let Some(times) = self.reports.timer.due(&self.host) {
                    error!("failed to set a timer ({times} so far): {error}");
                }
            }
        }
    }

    /// Updates metrics.
    pub(super) fn count(&self) {
        if let Some(Loaded { output, .. }) = self.loaded.get() {
            let apply = self.apply();
            output.borrow_mut().events.drain(..).for_each(|event| apply.count(event));
        }
    }

    /// The tick period has passed.
    pub(super) fn tick(&self) {
        if self.loaded.get().is_none() {
            return;
        }
        // Without a clock nothing is decided; earlier decisions are carried out.
        if let Some(now) = self.clock() {
            self.follow_log_level(now);
            let moment = Moment { now, clock: Ok(()) };
            let _ = self.handle(Input::Tick, moment);
            self.make_calls(moment);
        }
        self.carry_out_batch();
    }

    /// Adopts the host's log level, which may have changed, if it is time.
    fn follow_log_level(&self, now: Timestamp) {
        let read = self.log_level_read.get();
        // A clock that was set back must not keep the level for long.
        if now < read || now >= read.plus(LOG_LEVEL_PERIOD) {
            self.log_level_read.set(now);
            // A host that fails here has failed, with a line, when the configuration was loaded.
            let _ = self.host.adopt_log_level();
        }
    }

    pub(super) fn data(&self) -> HostData<'_, H> {
        HostData { host: &self.host, reports: &self.reports }
    }

    /// Carries out decisions on the effective context's request.
    pub(super) fn apply(&self) -> Apply<'_, H> {
        let statistics = self.loaded.get().map(|loaded| &loaded.statistics);
        Apply { host: &self.host, reports: &self.reports, statistics }
    }

    /// The clock, if nothing has to be denied without it.
    fn clock(&self) -> Option<Timestamp> {
        let now = self.host.now();
        if let Err(error) = now {
            self.reports.clock_failed(&self.host, error);
        }
        now.ok()
    }
}
