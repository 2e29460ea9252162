//! A host without a proxy: clock, requests, calls and their outcomes are values that a test holds.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use oauth2_filter_core::{
    Action, Answer, Attributes, Body, Call, CallFailure, Context, Environment, Event, Fields,
    Filter, Head, Input, NotWritten, Output, Reply, SharedData, SharedStore, Step, StreamId,
    Timestamp, TokenUse, Verdict,
};
use oauth2_filter_driver::{McpReport, McpValue};
use serde_json::Value;

use crate::exchanges::{Request, seconds_from_now};
use crate::mcp::results;
use crate::protobuf;
use crate::signatures;

/// One worker with one configuration.
pub struct SimulatedHost {
    filter: Filter,
    output: Output,
    data: Rc<Memory>,
    now: Timestamp,
    /// The clock's whole seconds at the start.
    started: u64,
    /// What has gone by since.
    elapsed: Duration,
    streams: u32,
    /// Requests by the number that `send` gave, until they are decided.
    waiting: HashMap<StreamId, Vec<(String, Vec<u8>)>>,
    outcomes: HashMap<StreamId, Outcome>,
    /// The filter state of the requests that were decided.
    attributes: HashMap<StreamId, Attributes>,
    /// Calls that were made and not answered yet, first come first.
    pub calls: Vec<Call>,
    /// How many calls were made in all.
    pub made: usize,
    /// What has happened, as the filter counts it.
    pub events: Vec<Event>,
    /// The certificate that every client shows.
    pub certificate: Option<[u8; 32]>,
    /// What the filter `jwt_authn` has stored about every request, if it has stored anything.
    pub jwt_authn: Option<Value>,
    /// The tokens of ours that requests went on with.
    sent: HashMap<StreamId, TokenUse>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The service gets this head.
    Passed(Vec<(String, Vec<u8>)>),
    /// The filter answers this.
    Refused(Reply),
}

impl SimulatedHost {
    /// A host whose clock stands at the real time of its start, and goes only when told to.
    pub fn new(document: &Value) -> Self {
        Self::beside(document, Rc::default())
    }

    /// Another worker of the same proxy.
    pub fn worker(&self, document: &Value) -> Self {
        Self {
            now: self.now,
            started: self.started,
            elapsed: self.elapsed,
            ..Self::beside(document, Rc::clone(&self.data))
        }
    }

    fn beside(document: &Value, data: Rc<Memory>) -> Self {
        let text = document.to_string();
        let sign = |_, _: &str, text: &[u8]| Ok([&[1; 256], text].concat());
        let environment = Environment {
            sign,
            verify: signatures::verify,
            reads_jwt_authn: true,
            ..Environment::new(&|_| None, data.seed())
        };
        let (filter, _) = Filter::load(text.as_bytes(), &environment)
            .unwrap_or_else(|mistakes| panic!("{mistakes}: {document}"));
        let started = u64::try_from(seconds_from_now(0)).expect("a time after 1970");
        Self {
            output: Output { timer: filter.tick_period(), ..Output::default() },
            filter,
            data,
            now: Timestamp::from_millis(started * 1000),
            started,
            elapsed: Duration::ZERO,
            streams: 0,
            waiting: HashMap::new(),
            outcomes: HashMap::new(),
            attributes: HashMap::new(),
            calls: Vec::new(),
            made: 0,
            events: Vec::new(),
            certificate: None,
            jwt_authn: None,
            sent: HashMap::new(),
        }
    }

    /// What the clock shows, in whole seconds since the epoch.
    pub fn seconds(&self) -> u64 {
        self.started + self.elapsed.as_secs()
    }

    /// How many requests have come in.
    pub fn sent(&self) -> u32 {
        self.streams
    }

    /// Lets time go by.
    pub fn advance(&mut self, duration: Duration) {
        self.elapsed += duration;
        self.now = self.now.plus(duration);
    }

    /// The clock is set back.
    pub fn set_back(&mut self, duration: Duration) {
        self.now = self.now.minus(duration);
    }

    /// A request comes in.
    pub fn send(&mut self, request: &Request) -> StreamId {
        let mut head: Vec<(String, Vec<u8>)> = vec![
            (":method".to_owned(), request.method.into()),
            (":path".to_owned(), request.path.into()),
            (":authority".to_owned(), request.host.into()),
        ];
        let headers = request.headers.iter();
        head.extend(headers.map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.send_with(head, body(request))
    }

    /// A request with these headers comes in, the pseudo-headers first.
    pub fn send_head(&mut self, headers: Vec<(String, Vec<u8>)>) -> StreamId {
        self.send_with(headers, Body::Empty)
    }

    fn send_with(&mut self, headers: Vec<(String, Vec<u8>)>, body: Body) -> StreamId {
        let stream = StreamId(self.streams);
        self.streams += 1;
        let mut head = SimulatedHead::new(headers, self.certificate, body);
        head.jwt_authn = self.jwt_authn.as_ref().map(protobuf::members);
        let store = SharedStore::new(&*self.data);
        let context = Context { now: self.now, store: &store };
        let input = Input::Request(stream, &head);
        match self.filter.handle(input, context, &mut self.output) {
            Step::Decided(verdict) => self.decide(stream, head.headers, verdict),
            Step::Waiting => _ = self.waiting.insert(stream, head.headers),
            Step::Nothing => panic!("a request is decided, or waits"),
        }
        self.carry_out();
        stream
    }

    /// The client of a request goes away.
    pub fn abort(&mut self, stream: StreamId) {
        self.waiting.remove(&stream);
        self.filter.stream_ended(stream, &mut self.output);
        self.carry_out();
    }

    /// The oldest open call ends so.
    pub fn answer(&mut self, outcome: &Result<Answer, CallFailure>) {
        let call = self.calls.remove(0);
        let outcome = outcome.as_ref().map_err(|failure| *failure);
        self.handle(Input::CallEnded(call.id, outcome));
    }

    /// A tick comes, if the filter wants one.
    pub fn tick(&mut self) {
        if self.needs_ticks() {
            self.handle(Input::Tick);
        }
    }

    /// Whether the filter wants ticks.
    pub fn needs_ticks(&self) -> bool {
        self.output.timer.is_some()
    }

    /// How often the filter wants ticks.
    pub fn ticks(&self) -> Option<Duration> {
        self.output.timer
    }

    /// Something happens.
    fn handle(&mut self, input: Input<'_>) {
        let store = SharedStore::new(&*self.data);
        let context = Context { now: self.now, store: &store };
        let step = self.filter.handle(input, context, &mut self.output);
        assert!(matches!(step, Step::Nothing), "{step:?}");
        self.carry_out();
    }

    /// What the filter wants done is done, and its calls are open from now on.
    fn carry_out(&mut self) {
        for (stream, verdict) in std::mem::take(&mut self.output.decided) {
            let head = self.waiting.remove(&stream).expect("only waiting requests are decided");
            self.decide(stream, head, verdict);
        }
        let calls = std::mem::take(&mut self.output.calls);
        self.made += calls.len();
        self.calls.extend(calls);
        self.events.append(&mut self.output.events);
    }

    /// Has another worker do this just before a worker looks at a marker again.
    pub fn meanwhile(&self, other: impl FnOnce() + 'static) {
        *self.data.meanwhile.borrow_mut() = Some(Box::new(other));
    }

    /// The service answers a request that has passed with this status.
    pub fn respond(&mut self, stream: StreamId, status: u16) {
        if let Some(sent) = self.sent.get(&stream).copied() {
            self.handle(Input::Response(sent, status));
        }
    }

    /// The oldest open call gets this answer.
    pub fn answer_status(&mut self, status: u16, body: &Value) {
        let body = body.to_string().into_bytes();
        self.answer(&Ok(Answer { status, retry_after: None, body }));
    }

    /// A header of what went to the service.
    pub fn passed_header(&self, stream: StreamId, name: &str) -> Option<String> {
        let Some(Outcome::Passed(head)) = self.outcome(stream) else { return None };
        let value = head.iter().find(|(n, _)| n == name).map(|(_, value)| value)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Sends a request. Another worker sends the same just before this one writes to shared data
    /// for the first time, so that it is first by a hair.
    pub fn send_second(&mut self, first: Self, request: &Request) -> (Rc<RefCell<Self>>, StreamId) {
        let first = Rc::new(RefCell::new(first));
        let (sending, same) = (Rc::clone(&first), request.clone());
        let send = move || _ = sending.borrow_mut().send(&same);
        *self.data.before_write.borrow_mut() = Some(Box::new(send));
        (first, self.send(request))
    }

    /// Has another worker do this after so many more looks at shared data and writes to it.
    pub fn in_between(&self, after: usize, other: impl FnOnce() + 'static) {
        *self.data.in_between.borrow_mut() = Some((after, Box::new(other)));
    }

    /// Whether that has not happened yet.
    pub fn is_in_between(&self) -> bool {
        self.data.in_between.borrow().is_some()
    }

    /// The oldest open call gets a 200 with this body.
    pub fn answer_with(&mut self, body: &Value) {
        let body = body.to_string().into_bytes();
        self.answer(&Ok(Answer { status: 200, retry_after: None, body }));
    }

    /// All that stands in shared data, keys and values.
    pub fn shared(&self) -> Vec<u8> {
        let (values, _) = &*self.data.stored.borrow();
        values.iter().flat_map(|(key, (value, _))| [key.as_bytes(), value].concat()).collect()
    }

    /// How many markers of calls stand in shared data.
    pub fn markers(&self) -> usize {
        let (values, _) = &*self.data.stored.borrow();
        values.iter().filter(|(key, (value, _))| key.contains(".m.") && !value.is_empty()).count()
    }

    /// A header of what the filter has answered to a request.
    pub fn refused_header(&self, stream: StreamId, name: &str) -> Option<&str> {
        let Some(Outcome::Refused(reply)) = self.outcome(stream) else { return None };
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| &**value)
    }

    /// What became of a request; `None` while it waits.
    pub fn outcome(&self, stream: StreamId) -> Option<&Outcome> {
        self.outcomes.get(&stream)
    }

    /// The filter state that a request got, names without `oauth2_`.
    pub fn filter_state(&self, stream: StreamId) -> Vec<(&str, &str)> {
        let state = self.attributes[&stream].iter();
        state.map(|(name, value)| (name.trim_start_matches("oauth2_"), value)).collect()
    }

    /// What became of a request, in a word: `passed`, `waits`, or why it was refused.
    pub fn state(&self, stream: StreamId) -> &'static str {
        match self.outcome(stream) {
            None => "waits",
            Some(Outcome::Passed(_)) => "passed",
            Some(Outcome::Refused(reply)) => reply.details,
        }
    }

    /// Sends a request and says what became of it at once.
    pub fn state_of(&mut self, request: &Request) -> &'static str {
        let stream = self.send(request);
        self.state(stream)
    }

    fn decide(&mut self, stream: StreamId, head: Vec<(String, Vec<u8>)>, verdict: Verdict) {
        self.sent.extend(verdict.sent.map(|sent| (stream, sent)));
        self.attributes.insert(stream, verdict.attributes);
        let outcome = match verdict.action {
            Action::Respond(reply) => Outcome::Refused(reply),
            Action::Forward(forward) => {
                let set = &forward.set;
                let gone = |name: &str| {
                    forward.removed().any(|n| **n == *name) || set.iter().any(|(n, _)| **n == *name)
                };
                let mut head: Vec<_> = head.into_iter().filter(|(name, _)| !gone(name)).collect();
                // Hosts do not look for other values of these.
                for (added, _) in forward.added() {
                    assert!(!head.iter().any(|(name, _)| **name == **added), "{added} is there");
                }
                head.extend(forward.given().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())));
                Outcome::Passed(head)
            }
        };
        let before = self.outcomes.insert(stream, outcome);
        assert!(before.is_none(), "a request is decided once");
    }
}

/// A request's head as Envoy hands it over.
struct SimulatedHead {
    headers: Vec<(String, Vec<u8>)>,
    fields: Fields,
    /// Whether all of them were asked for: from then on repeated ones show.
    whole: Cell<bool>,
    certificate: Option<[u8; 32]>,
    /// The metadata of `jwt_authn`, in protobuf.
    jwt_authn: Option<Vec<u8>>,
    body: Body,
}

impl SimulatedHead {
    fn new(headers: Vec<(String, Vec<u8>)>, certificate: Option<[u8; 32]>, body: Body) -> Self {
        let mut head: Vec<(String, Vec<u8>)> = Vec::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            let value = value.trim_ascii().to_vec();
            match head.iter_mut().find(|(n, _)| *n == name && name == "authorization") {
                Some((_, first)) => {
                    first.push(b',');
                    first.extend(value);
                }
                None => head.push((name, value)),
            }
        }
        let fields = head.iter().map(|(name, value)| (name, value)).collect();
        let whole = Cell::new(false);
        Self { headers: head, fields, whole, certificate, jwt_authn: None, body }
    }
}

impl Head for SimulatedHead {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if self.whole.get() {
            return self.fields.joined(name);
        }
        self.fields.values(name).next().map(Cow::Borrowed)
    }

    fn fields(&self) -> &Fields {
        self.whole.set(true);
        &self.fields
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    fn body(&self) -> Body {
        self.body.clone()
    }

    fn jwt_authn(&self) -> Option<Vec<u8>> {
        self.jwt_authn.clone()
    }
}

/// What a host has of the body.
fn body(request: &Request) -> Body {
    if request.body.is_empty() {
        return Body::Empty;
    }
    let Some(results) = results(request) else { return Body::Unread };
    let value = |path: &str| match results.pointer(path) {
        None => McpValue::Absent,
        Some(Value::String(text)) => McpValue::Text(text),
        Some(Value::Bool(bool)) => McpValue::Bool(*bool),
        Some(_) => McpValue::Other,
    };
    let report = McpReport {
        is_mcp_request: value("/is_mcp_request"),
        status: value("/status"),
        is_exceeding_limit: value("/is_exceeding_limit"),
        passthrough_reason: value("/passthrough_reason"),
        method: value("/method"),
        name: value("/params/name"),
        uri: value("/params/uri"),
    };
    report.body()
}

/// What another worker does.
type Act = Box<dyn FnOnce()>;

/// Shared data with the host's rules: a write with a number succeeds if that was the last write's,
/// and no key ever goes away.
#[derive(Default)]
struct Memory {
    /// All values, and the number of the last write.
    stored: RefCell<(Values, u32)>,
    /// What another worker does just before the next look at a marker.
    meanwhile: RefCell<Option<Act>>,
    /// What another worker does just before the next write.
    before_write: RefCell<Option<Act>>,
    /// What another worker does after so many more looks and writes.
    in_between: RefCell<Option<(usize, Act)>>,
    /// How many workers have begun.
    workers: Cell<u8>,
}

impl Memory {
    /// Random bytes, others for each worker.
    fn seed(&self) -> [u8; 16] {
        self.workers.set(self.workers.get() + 1);
        [self.workers.get(); 16]
    }
}

/// Values by key, each with the number of its write.
type Values = HashMap<String, (Vec<u8>, u32)>;

impl Memory {
    /// Counts a look or a write, and lets the other worker act when it is time.
    fn count(&self) {
        let next = self.in_between.take();
        match next {
            Some((0, act)) => act(),
            Some((left, act)) => *self.in_between.borrow_mut() = Some((left - 1, act)),
            None => {}
        }
    }
}

impl SharedData for Memory {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.count();
        let meanwhile = if key.contains(".m.") { self.meanwhile.take() } else { None };
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        self.stored.borrow().0.get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten> {
        self.count();
        let before_write = self.before_write.take();
        if let Some(before_write) = before_write {
            before_write();
        }
        let (values, writes) = &mut *self.stored.borrow_mut();
        let current = values.get(key).map(|(_, written)| *written);
        if after.is_some() && current.is_some() && after != current {
            return Err(NotWritten::Lost);
        }
        *writes += 1;
        values.insert(key.to_owned(), (value.to_vec(), *writes));
        Ok(())
    }
}
