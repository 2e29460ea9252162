//! A VM in the simulated proxy: requests go through it as through Envoy.

use std::cell::RefCell;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use oauth2_filter_driver::Vm;
use serde_json::{Value, json};

use crate::exchanges::{Request, seconds_from_now};
use crate::metadata::metadata;
use crate::proxy::{Headers, Proxy};

/// A VM with one configuration.
pub struct SetUp {
    pub proxy: Proxy,
    pub vm: Vm<Proxy>,
    /// The root context of the configuration.
    pub root: u32,
    next: u32,
}

impl SetUp {
    /// With this added to the `inbound` object.
    pub fn new(inbound: Value) -> Self {
        Self::with(&document(inbound))
    }

    /// With this configuration.
    pub fn with(document: &Value) -> Self {
        let proxy = Proxy::default();
        proxy.set_clock(u64::try_from(seconds_from_now(0)).unwrap() * 1000);
        Self::in_proxy(proxy, document)
    }

    /// With this configuration, in this worker thread.
    pub fn in_proxy(proxy: Proxy, document: &Value) -> Self {
        let mut set_up = Self::unconfigured(proxy);
        assert!(set_up.configure(document), "{:?}", logged());
        set_up
    }

    /// With a root context that is not configured yet.
    pub fn unconfigured(proxy: Proxy) -> Self {
        capture_log();
        let vm = Vm::new(proxy.clone());
        vm.context_created(1, 0);
        Self { proxy, vm, root: 1, next: 2 }
    }

    /// Another worker thread of the same proxy.
    pub fn worker(&self, document: &Value) -> Self {
        Self::in_proxy(self.proxy.another(), document)
    }

    /// Configures the root context. Whether it accepts that.
    pub fn configure(&mut self, document: &Value) -> bool {
        let text = document.to_string();
        self.proxy.set_configuration(&text);
        self.proxy.enter(self.root);
        self.vm.configured(self.root, text.len())
    }

    /// A stream whose headers have not come yet.
    pub fn open(&mut self, request: &Request) -> u32 {
        let stream = self.next;
        self.next += 1;
        self.proxy.stream(stream).headers = headers(request);
        self.proxy.stream(stream).metadata = metadata(request);
        self.vm.context_created(stream, self.root);
        stream
    }

    /// The headers of a stream come.
    pub fn deliver(&mut self, stream: u32, end_of_stream: bool) {
        self.proxy.enter(stream);
        let continues = self.vm.request_headers(stream, end_of_stream);
        self.proxy.stream(stream).continued |= continues;
    }

    /// A request, whose body follows if it has one.
    pub fn send(&mut self, request: &Request) -> u32 {
        let stream = self.open(request);
        self.deliver(stream, request.body.is_empty());
        stream
    }

    /// A request whose body and trailers are still to come.
    pub fn begin(&mut self, request: &Request) -> u32 {
        let stream = self.open(request);
        self.deliver(stream, false);
        stream
    }

    /// A part of a request's body. Whether it continues.
    pub fn body(&self, stream: u32) -> bool {
        self.proxy.enter(stream);
        self.vm.request_body(stream)
    }

    /// The trailers of a request. Whether they continue.
    pub fn trailers(&self, stream: u32, trailers: &[(&[u8], &str)]) -> bool {
        let owned = trailers.iter().map(|(name, value)| (name.to_vec(), (*value).into()));
        self.proxy.stream(stream).trailers = Some(owned.collect());
        self.proxy.enter(stream);
        self.vm.request_trailers(stream)
    }

    /// The service responds to a request.
    pub fn respond(&self, stream: u32, status: u16, headers: &[(&str, &str)]) {
        let status = (":status", &*status.to_string());
        let all = [status].into_iter().chain(headers.iter().copied());
        self.proxy.stream(stream).response =
            all.map(|(name, value)| (name.into(), value.into())).collect();
        self.proxy.enter(stream);
        self.vm.response_headers(stream);
    }

    /// A stream ends.
    pub fn end(&self, stream: u32) {
        self.proxy.enter(stream);
        assert!(self.vm.done(stream));
        self.proxy.remove(stream);
    }

    /// The oldest call gets this response from the server.
    pub fn respond_to_call(&self, status: u16, body: &Value) {
        let from_server = [("x-envoy-upstream-service-time", "1")];
        self.end_call(status, &from_server, body.to_string().as_bytes());
    }

    /// The oldest call ends with these headers, which are not those of the server unless they say.
    pub fn end_call(&self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let number = self.proxy.calls()[0];
        self.proxy.take_call(number);
        let status = (":status", &*status.to_string());
        let all = [status].into_iter().chain(headers.iter().copied());
        let headers: Vec<_> = all.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let count = headers.len();
        self.proxy.set_call_response(Some((headers, body.to_vec())));
        self.proxy.enter(self.root);
        self.vm.call_ended(self.root, number, count, body.len());
        self.proxy.set_call_response(None);
    }

    /// The response to the oldest call breaks off.
    pub fn break_call(&self) {
        let number = self.proxy.calls()[0];
        self.proxy.take_call(number);
        self.proxy.enter(self.root);
        self.vm.call_ended(self.root, number, 0, 0);
    }

    /// A tick comes, if there is a timer.
    pub fn tick(&self) {
        let period = self.proxy.tick_period(self.root);
        if period > Duration::ZERO {
            self.proxy.advance(period);
            self.proxy.enter(self.root);
            self.vm.tick(self.root);
        }
    }

    /// What became of a request: `waits`, `forwarded`, why it was answered, or both.
    pub fn outcome(&self, stream: u32) -> &'static str {
        let stream = self.proxy.stream(stream);
        match (&stream.reply, stream.continued) {
            (Some(reply), false) => reply.details,
            (None, true) => "forwarded",
            (None, false) => "waits",
            (Some(_), true) => "forwarded, then answered",
        }
    }

    /// Sends a request and says what became of it at once.
    pub fn outcome_of(&mut self, request: &Request) -> &'static str {
        let stream = self.send(request);
        self.outcome(stream)
    }

    /// The value of a header of a request as it is now.
    pub fn header(&self, stream: u32, name: &str) -> Option<String> {
        value(&self.proxy.stream(stream).headers, name)
    }

    /// How many requests were counted as refused with `oauth2_host_error`.
    pub fn host_errors(&self) -> i64 {
        self.proxy.metric("requests.decision.denied.reason.host_error").expect("the counter")
    }

    /// How many requests the gauge says are waiting.
    pub fn waiting(&self) -> i64 {
        self.proxy.metric("waiting_requests").expect("the gauge")
    }
}

/// The value of a header.
pub fn value(headers: &Headers, name: &str) -> Option<String> {
    let value = headers.iter().find(|(n, _)| n == name.as_bytes()).map(|(_, value)| value);
    value.map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The headers of a request as Envoy delivers them.
fn headers(request: &Request) -> Headers {
    let mut all: Headers = vec![
        (b":method".to_vec(), request.method.into()),
        (b":path".to_vec(), request.path.into()),
        (b":authority".to_vec(), request.host.into()),
    ];
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase().into_bytes();
        let value = value.trim_ascii();
        match all.iter_mut().find(|(n, _)| *n == name && name == b"authorization") {
            Some((_, first)) => *first = [&**first, b",", value].concat(),
            None => all.push((name, value.to_vec())),
        }
    }
    all
}

/// A configuration with one introspection endpoint, with this added to the `inbound` object.
pub fn document(inbound: Value) -> Value {
    let mut document = json!({"inbound": {"introspection": {
        "endpoint": "http://as.test/introspect", "cluster": "as",
        "client_id": "rs", "client_secret": "rs-secret", "timeout": "2s",
    }}});
    oauth2_filter_testbed::envoy::merge(&mut document["inbound"], inbound);
    document
}

/// A configuration with one outbound client for every request.
pub fn client() -> Value {
    json!({"outbound": {"clients": {"billing": {
        "grant_type": "client_credentials", "endpoint": "http://as.test/token", "cluster": "as",
        "client_id": "orders", "client_secret": "orders-secret",
    }}}})
}

thread_local! {
    /// What this thread, and so this test, has logged.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps lines for the test that runs in the thread.
struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

fn capture_log() {
    // Another test may have done so.
    if log::set_logger(&Capture).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// What was logged since this was last called, without the warnings on the configuration.
pub fn logged() -> Vec<String> {
    let is_on_configuration =
        |line: &String| line.starts_with("WARN inbound.") || line.starts_with("WARN outbound.");
    let mut lines = LINES.take();
    lines.retain(|line| !is_on_configuration(line));
    lines
}
