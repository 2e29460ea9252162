//! The adapter: carries values between the [`Filter`] and a proxy-wasm host.
//!
//! It decides nothing. What the host does at its seams, and this file relies on:
//!
//! * A call belongs to the root context, and its answer comes there, whatever became of the request
//!   that wanted it. The SDK sends an answer to the context that was active at dispatch and drops it
//!   if that is gone, so calls are dispatched by the root ([`abi::enter_root`]).
//! * What resumes or answers a stream is carried out after the callback returns, each inside the
//!   other. A few hundred would overflow the stack, so [`BATCH`] go at a time.
//! * A stream that was reset may still be addressed for a moment. So a stream that ends takes
//!   itself off every list, in `Drop`.

mod abi;
mod data;
mod head;
#[cfg(feature = "panic-on-command")]
mod panic_on_command;
mod sign;
mod statistics;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use log::{error, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, Status};

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

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root(Rc::new(Worker::new(id)))));
}}

/// What one configuration has in one worker. Several live side by side in a VM: other plugins, and
/// the configuration before an update while requests still wait in it.
struct Worker {
    /// The root context.
    root: u32,
    /// Set once, by a configuration without mistakes.
    filter: OnceCell<RefCell<Filter>>,
    /// The document of that configuration.
    document: OnceCell<Vec<u8>>,
    /// The calls under way, by the host's number.
    under_way: RefCell<HashMap<u32, CallId>>,
    /// Streams that wait or have waited, and what became of them.
    paused: RefCell<HashMap<StreamId, Passage>>,
    /// Verdicts to be carried out.
    verdicts: RefCell<VecDeque<(StreamId, Verdict)>>,
    /// The time between two ticks; zero if none come.
    tick_period: Cell<Duration>,
    /// Where events are counted.
    statistics: OnceCell<Statistics>,
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

impl Worker {
    /// The worker of a root context that is not configured yet.
    fn new(root: u32) -> Self {
        Self {
            root,
            filter: OnceCell::new(),
            document: OnceCell::new(),
            under_way: RefCell::default(),
            paused: RefCell::default(),
            verdicts: RefCell::default(),
            tick_period: Cell::new(Duration::ZERO),
            statistics: OnceCell::new(),
        }
    }

    /// Makes the calls that the filter wants made, and says whether there were any. The root must
    /// be the active context.
    fn dispatch(&self) -> bool {
        let Some(filter) = self.filter.get() else { return false };
        let mut made = false;
        loop {
            let calls = filter.borrow_mut().calls();
            if calls.is_empty() {
                return made;
            }
            made = true;
            for call in calls {
                let head = call.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                let body = Some(call.body.as_bytes());
                let sent =
                    hostcalls::dispatch_http_call(&call.cluster, head, body, vec![], call.timeout);
                match sent {
                    Ok(number) => _ = self.under_way.borrow_mut().insert(number, call.id),
                    Err(Status::BadArgument) => {
                        self.settle(call.id, Err(CallFailure::UnknownCluster));
                    }
                    Err(_) => self.settle(call.id, Err(CallFailure::NotSent)),
                }
            }
        }
    }

    /// Hands the outcome of a call to the filter, and begins to carry out what it says.
    fn settle(&self, id: CallId, outcome: Result<&Answer, CallFailure>) {
        if let Some(filter) = self.filter.get() {
            let verdicts = filter.borrow_mut().answer(id, outcome, &HostData, now());
            self.verdicts.borrow_mut().extend(verdicts);
            self.carry_out_batch();
        }
    }

    /// Carries out the next verdicts, and has ticks come for what is left.
    fn carry_out_batch(&self) {
        for _ in 0..BATCH {
            let Some((stream, verdict)) = self.verdicts.borrow_mut().pop_front() else { break };
            let mut paused = self.paused.borrow_mut();
            if let Some(passage) = paused.get_mut(&stream)
                && abi::set_effective_context(stream.0).is_ok()
            {
                *passage = carry_out(verdict);
                if passage.forwarded {
                    passage.forwarded = abi::resume_request().is_ok();
                }
            }
        }
        self.keep_time();
        self.count();
    }

    /// Has ticks come while there is something to be done by them.
    fn keep_time(&self) {
        let wanted = self.filter.get().and_then(|filter| filter.borrow_mut().tick_period());
        let batch = (!self.verdicts.borrow().is_empty()).then_some(BATCH_PERIOD);
        let period = batch.or(wanted).unwrap_or(Duration::ZERO);
        // Ticks belong to the root.
        if period != self.tick_period.get() && abi::set_effective_context(self.root).is_ok() {
            self.tick_period.set(period);
            set_tick_period(period);
        }
    }

    /// Counts what has happened.
    fn count(&self) {
        if let (Some(filter), Some(statistics)) = (self.filter.get(), self.statistics.get()) {
            filter.borrow_mut().events().for_each(|event| statistics.add(event));
        }
    }

    /// Takes note of the time.
    fn look(&self) {
        let Some(filter) = self.filter.get() else { return };
        let verdicts = filter.borrow_mut().tick(&HostData, now());
        self.verdicts.borrow_mut().extend(verdicts);
        self.dispatch();
        self.carry_out_batch();
    }
}

/// The root context of a [`Worker`].
struct Root(Rc<Worker>);

impl Context for Root {
    fn on_http_call_response(&mut self, number: u32, headers: usize, body_size: usize, _: usize) {
        let Some(id) = self.0.under_way.borrow_mut().remove(&number) else { return };
        let outcome = outcome(headers, body_size);
        self.0.settle(id, outcome.as_ref().map_err(|failure| *failure));
        self.0.dispatch();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        if let Ok(level) = hostcalls::get_log_level() {
            proxy_wasm::set_log_level(level);
        }
        let document = abi::plugin_configuration(size).unwrap_or_default();
        if let Some(configured) = self.0.document.get() {
            // Filters of one configuration share one root, and each of them configures it.
            return *configured == document;
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
                self.0.filter.set(RefCell::new(filter)).is_ok()
                    && self.0.document.set(document).is_ok()
                    && self.0.statistics.set(statistics).is_ok()
            }
            Err(mistakes) => {
                error!("{mistakes}");
                false
            }
        }
    }

    fn on_tick(&mut self) {
        // Either a stream has entered the root to have its call made, or it is time.
        if !self.0.dispatch() {
            self.0.look();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let worker = Rc::clone(&self.0);
        Some(Box::new(Stream { id: StreamId(id), worker, passage: Passage::default() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// A request.
struct Stream {
    /// The host's number for it.
    id: StreamId,
    /// Where it waits.
    worker: Rc<Worker>,
    /// How far it has come without waiting.
    passage: Passage,
}

impl Stream {
    /// How far it has come.
    fn passage(&self) -> Passage {
        self.worker.paused.borrow().get(&self.id).copied().unwrap_or(self.passage)
    }

    /// Body and trailers go on when the head has. A host may deliver them before
    /// (`allow_on_headers_stop_iteration`), and would then send the head along.
    fn follow(&self) -> Action {
        if self.passage().forwarded { Action::Continue } else { Action::Pause }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        #[cfg(feature = "panic-on-command")]
        panic_on_command::obey();
        let head = RequestHead::default();
        let Some(filter) = self.worker.filter.get() else {
            send(&Filter::unconfigured());
            return Action::Pause;
        };
        let step = filter.borrow_mut().request(self.id, &head, &HostData, now());
        match step {
            Step::Decide(verdict) => self.passage = carry_out(verdict),
            Step::Wait => {
                self.worker.paused.borrow_mut().insert(self.id, Passage::default());
            }
        }
        if filter.borrow().has_calls() {
            abi::enter_root(self.worker.root);
        }
        self.worker.keep_time();
        self.worker.count();
        self.follow()
    }

    fn on_http_request_body(&mut self, _: usize, _: bool) -> Action {
        self.follow()
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.follow()
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let Passage { private, sent, .. } = self.passage();
        if private {
            head::make_response_private();
        }
        if let (Some(sent), Some(filter)) = (sent, self.worker.filter.get())
            && let Some(status) = head::response_status()
            && filter.borrow().is_refusal(sent, status)
            && head::is_of_service()
        {
            filter.borrow_mut().response(sent, status, &HostData, now());
            self.worker.count();
        }
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.worker.paused.borrow_mut().remove(&self.id).is_some()
            && let Some(filter) = self.worker.filter.get()
        {
            filter.borrow_mut().gone(self.id);
            self.worker.count();
        }
    }
}

/// Carries out a verdict on the effective context's request. A request that may go on still has
/// to be resumed if it was paused.
fn carry_out(verdict: Verdict) -> Passage {
    for (name, value) in &verdict.attributes {
        // What is missing here is missing in logs; it lets nobody pass.
        let _ = abi::set_filter_state(name, value);
    }
    let refusal = match verdict.fate {
        Fate::Forward(forward) => {
            if edit(&forward).is_ok() {
                let is_edited = !forward.remove.is_empty() || !forward.set.is_empty();
                if !is_edited && !verdict.attributes.is_empty() {
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

/// The host's clock.
fn now() -> Timestamp {
    let since_epoch = hostcalls::get_current_time()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Has ticks come; zero for none.
fn set_tick_period(period: Duration) {
    if hostcalls::set_tick_period(period).is_err() {
        error!("the host takes no tick period");
    }
}
