//! The adapter: carries values between the [`Filter`] and a proxy-wasm host.
//!
//! It decides nothing. What the host does at its seams, and this file relies on:
//!
//! * A call belongs to the root context, and its answer comes there, whatever became of the request
//!   that wanted it.
//! * What resumes or answers a stream is carried out after the callback returns, each inside the
//!   other. A few hundred would overflow the stack, so [`BATCH`] go at a time.
//! * A stream that was reset may still be addressed for a moment. So a stream that ends is taken
//!   off every list at once ([`callbacks`]).

mod abi;
mod callbacks;
mod data;
mod head;
#[cfg(feature = "panic-on-command")]
mod panic_on_command;
mod sign;
mod statistics;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use fnv::FnvHashMap;
use log::{error, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::types::LogLevel;

use crate::call::{Answer, CallFailure, CallId, MAX_BODY, Sent};
use crate::denial::Reply;
use crate::filter::{Environment, Filter, Step};
use crate::forward::Forward;
use crate::guard::{Fate, Verdict};
use crate::timestamp::Timestamp;
use crate::waiting::StreamId;
use data::HostData;
use head::RequestHead;
use statistics::Statistics;

/// How many waiting streams are resumed or answered in one callback.
const BATCH: usize = 64;

/// The pause between two batches.
const BATCH_PERIOD: Duration = Duration::from_millis(1);

/// By how much the host's timers may be ahead of its clock.
const EARLY: Duration = Duration::from_millis(20);

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
}}

/// What one configuration has in one worker. Several live side by side in a VM: other plugins, and
/// the configuration before an update while requests still wait in it.
struct Worker {
    /// The root context.
    root: u32,
    /// Set once, by a configuration without mistakes.
    loaded: OnceCell<Loaded>,
    /// The calls under way, by the host's number, and when the host gives up each.
    under_way: RefCell<FnvHashMap<u32, (CallId, Timestamp)>>,
    /// The streams of which something has to be remembered; none of those that just went on.
    streams: RefCell<FnvHashMap<StreamId, Passage>>,
    /// Verdicts to be carried out.
    verdicts: RefCell<VecDeque<(StreamId, Verdict)>>,
    /// The time between two ticks; zero if none come.
    tick_period: Cell<Duration>,
    /// Whether the host has nothing more for it but answers to calls.
    is_ending: Cell<bool>,
}

/// A configuration without mistakes.
struct Loaded {
    /// The document.
    document: Vec<u8>,
    /// What it says.
    filter: RefCell<Filter>,
    /// Where events are counted.
    statistics: Statistics,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default)]
struct Passage {
    /// Whether its head has been let on.
    forwarded: bool,
    /// Whether its answer is for its caller only.
    private: bool,
    /// The token of ours that it went on with.
    sent: Option<Sent>,
}

impl Passage {
    /// Whether nothing has to be remembered of it.
    fn is_over(self) -> bool {
        self.forwarded && !self.private && self.sent.is_none()
    }
}

impl Worker {
    /// The worker of a root context that is not configured yet.
    fn new(root: u32) -> Self {
        Self {
            root,
            loaded: OnceCell::new(),
            under_way: RefCell::default(),
            streams: RefCell::default(),
            verdicts: RefCell::default(),
            tick_period: Cell::new(Duration::ZERO),
            is_ending: Cell::new(false),
        }
    }

    /// Takes a configuration. Whether it has no mistakes.
    fn configure(&self, document: Vec<u8>) -> bool {
        if let Some(loaded) = self.loaded.get() {
            // Filters of one configuration share one root, and each of them configures it.
            return loaded.document == document;
        }
        let mut seed = [0; 16];
        if getrandom::fill(&mut seed).is_err() {
            error!("the host gives no random bytes");
            return false;
        }
        let variable = |name: &str| std::env::var(name).ok();
        let environment = Environment { variable: &variable, seed, sign: sign::sign };
        match Filter::load(&document, &environment) {
            Ok((filter, warnings)) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                let statistics = Statistics::define(filter.clients());
                let filter = RefCell::new(filter);
                self.loaded.set(Loaded { document, filter, statistics }).is_ok()
            }
            Err(mistakes) => {
                error!("{mistakes}");
                false
            }
        }
    }

    /// Decides on a request. Whether its head goes on now.
    fn request(&self, stream: StreamId) -> bool {
        let Some(Loaded { filter, .. }) = self.loaded.get() else {
            send(&Filter::unconfigured());
            self.remember(stream, Passage::default());
            return false;
        };
        let head = RequestHead::default();
        let step = filter.borrow_mut().request(stream, &head, &HostData, abi::now());
        let passage = match step {
            Step::Decide(verdict) => carry_out(verdict),
            Step::Wait => Passage::default(),
        };
        self.remember(stream, passage);
        self.count(&mut filter.borrow_mut());
        self.dispatch();
        self.keep_time();
        self.goes_on(stream)
    }

    /// Remembers how far a request has come, if there is anything to remember.
    fn remember(&self, stream: StreamId, passage: Passage) {
        if !passage.is_over() {
            self.streams.borrow_mut().insert(stream, passage);
        }
    }

    /// Whether what comes after a request's head goes on: when the head has. A host may deliver it
    /// before (`allow_on_headers_stop_iteration`), and would then send the head along.
    fn goes_on(&self, stream: StreamId) -> bool {
        self.streams.borrow().get(&stream).is_none_or(|passage| passage.forwarded)
    }

    /// The response to a request has come.
    fn response(&self, stream: StreamId) {
        let passage = self.streams.borrow().get(&stream).copied();
        let Some(Passage { private, sent, .. }) = passage else { return };
        if private {
            head::make_response_private();
        }
        if let (Some(sent), Some(Loaded { filter, .. })) = (sent, self.loaded.get())
            && let Some(status) = head::response_status()
            && filter.borrow().is_refusal(sent, status)
            && head::is_of_service()
        {
            let mut filter = filter.borrow_mut();
            filter.response(sent, status, &HostData, abi::now());
            self.count(&mut filter);
        }
    }

    /// A stream has ended.
    fn gone(&self, stream: StreamId) {
        let passage = self.streams.borrow_mut().remove(&stream);
        if passage.is_some_and(|passage| !passage.forwarded)
            && let Some(Loaded { filter, .. }) = self.loaded.get()
        {
            let mut filter = filter.borrow_mut();
            filter.gone(stream);
            self.count(&mut filter);
        }
    }

    /// The host has nothing more for it but answers to calls.
    fn end(&self) {
        self.is_ending.set(true);
        self.keep_time();
        if let Some(Loaded { statistics, .. }) = self.loaded.get() {
            statistics.forget();
        }
    }

    /// Whether it has come to its end.
    fn has_ended(&self) -> bool {
        self.is_ending.get() && self.under_way.borrow().is_empty()
    }

    /// Makes the calls that the filter wants made.
    fn dispatch(&self) {
        let Some(Loaded { filter, .. }) = self.loaded.get() else { return };
        loop {
            let calls = filter.borrow_mut().calls();
            if calls.is_empty() {
                return;
            }
            for call in calls {
                let ends = abi::now().plus(call.timeout).minus(EARLY);
                match abi::http_call(&call) {
                    Ok(number) => _ = self.under_way.borrow_mut().insert(number, (call.id, ends)),
                    Err(failure) => self.settle(call.id, Err(failure)),
                }
            }
        }
    }

    /// The answer to a call has come, or there will be none.
    fn answer(&self, number: u32, headers: usize, body_size: usize) {
        let Some((id, ends)) = self.under_way.borrow_mut().remove(&number) else { return };
        let outcome = match outcome(headers, body_size) {
            // Of an answer that has begun, the host does not say why it did not come to its end.
            Err(CallFailure::Unreachable) if abi::now() >= ends => Err(CallFailure::Timeout),
            outcome => outcome,
        };
        self.settle(id, outcome.as_ref().map_err(|failure| *failure));
        self.dispatch();
    }

    /// Hands the outcome of a call to the filter, and begins to carry out what it says.
    fn settle(&self, id: CallId, outcome: Result<&Answer, CallFailure>) {
        if let Some(Loaded { filter, .. }) = self.loaded.get() {
            let verdicts = filter.borrow_mut().answer(id, outcome, &HostData, abi::now());
            self.verdicts.borrow_mut().extend(verdicts);
            self.carry_out_batch();
        }
    }

    /// Carries out the next verdicts, and has ticks come for what is left.
    fn carry_out_batch(&self) {
        for _ in 0..BATCH {
            let Some((stream, verdict)) = self.verdicts.borrow_mut().pop_front() else { break };
            // A stream that has ended is not among them.
            if self.streams.borrow().contains_key(&stream)
                && abi::set_effective_context(stream.0).is_ok()
            {
                let mut passage = carry_out(verdict);
                passage.forwarded = passage.forwarded && abi::resume_request().is_ok();
                self.streams.borrow_mut().remove(&stream);
                self.remember(stream, passage);
            }
        }
        self.keep_time();
        if let Some(Loaded { filter, .. }) = self.loaded.get() {
            self.count(&mut filter.borrow_mut());
        }
    }

    /// Has ticks come while there is something to be done by them.
    fn keep_time(&self) {
        let filter = self.loaded.get().map(|loaded| &loaded.filter);
        let wanted = filter.filter(|_| !self.is_ending.get());
        let wanted = wanted.and_then(|filter| filter.borrow().tick_period());
        let batch = (!self.verdicts.borrow().is_empty()).then_some(BATCH_PERIOD);
        let period = batch.or(wanted).unwrap_or(Duration::ZERO);
        // Ticks belong to the root.
        if period != self.tick_period.get() && abi::set_effective_context(self.root).is_ok() {
            self.tick_period.set(period);
            if hostcalls::set_tick_period(period).is_err() {
                error!("the host takes no tick period");
            }
        }
    }

    /// Counts what has happened.
    fn count(&self, filter: &mut Filter) {
        if let Some(Loaded { statistics, .. }) = self.loaded.get() {
            filter.events().for_each(|event| statistics.add(event));
        }
    }

    /// Takes note of the time.
    fn tick(&self) {
        let Some(Loaded { filter, .. }) = self.loaded.get() else { return };
        let verdicts = filter.borrow_mut().tick(&HostData, abi::now());
        self.verdicts.borrow_mut().extend(verdicts);
        self.dispatch();
        self.carry_out_batch();
    }
}

/// Carries out a verdict on the effective context's request. A request that may go on still has
/// to be resumed if it was paused.
fn carry_out(verdict: Verdict) -> Passage {
    for (name, value) in verdict.attributes.iter() {
        // What is missing here is missing in logs; it lets nobody pass.
        let _ = abi::set_filter_state(name, value);
    }
    let refusal = match verdict.fate {
        Fate::Forward(forward) => {
            if edit(&forward).is_ok() {
                let is_edited = !forward.remove.is_empty() || !forward.set.is_empty();
                if !is_edited && verdict.attributes.iter().next().is_some() {
                    // Routes may go by filter state, and Envoy has chosen one before there was
                    // any. Each edit of the head has it choose again.
                    abi::clear_route_cache();
                }
                let Verdict { sent, .. } = verdict;
                return Passage { forwarded: true, private: forward.private, sent };
            }
            Filter::host_error()
        }
        Fate::Answer(reply) => reply,
    };
    send(&refusal);
    Passage::default()
}

/// Changes the head of the effective context's request.
fn edit(forward: &Forward) -> Result<(), abi::Refused> {
    for name in &forward.remove {
        abi::remove_request_header(name)?;
    }
    for (name, value) in &forward.set {
        abi::set_request_header(name, value)?;
    }
    Ok(())
}

/// Answers the effective context's request.
fn send(reply: &Reply) {
    let headers: Vec<(&str, &str)> =
        reply.headers.iter().map(|(name, value)| (*name, &**value)).collect();
    // Nothing is left to be done about a stream that takes no answer: it has ended.
    let _ = abi::send_local_response(
        reply.status,
        reply.details,
        &headers,
        &reply.body,
        reply.grpc_status,
    );
}

/// What came of the call whose answer the host just announced.
fn outcome(headers: usize, body_size: usize) -> Result<Answer, CallFailure> {
    // Reset after the answer had begun, or too large for the host.
    if headers == 0 {
        return Err(CallFailure::Unreachable);
    }
    let header = abi::call_response_header;
    let status =
        header(":status").and_then(|status| std::str::from_utf8(&status).ok()?.parse().ok());
    let Some(status) = status else { return Err(CallFailure::Unreachable) };
    // Envoy puts this on what an upstream answered, and not on what it answers in its place.
    if status >= 500 && header("x-envoy-upstream-service-time").is_none() {
        let timeout = status == 504;
        return Err(if timeout { CallFailure::Timeout } else { CallFailure::Unreachable });
    }
    let body = match body_size {
        // Of any other answer the status says it all.
        _ if !matches!(status, 200 | 201 | 400 | 401 | 403) => Vec::new(),
        0..=MAX_BODY => abi::call_response_body(body_size).unwrap_or_default(),
        _ => return Err(CallFailure::TooLarge),
    };
    Ok(Answer { status, retry_after: header("retry-after"), body })
}
