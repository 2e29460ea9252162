//! Safe wrappers of Envoy's functions, each for an object that Envoy passes to a hook.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::io::Write;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use oauth2_filter_core::{
    Answer, Body, Call, CallFailure, Fields, Head, Reply, Timestamp, digest_from_hex,
};
use oauth2_filter_driver::{
    CallResponse, Changed, Host, HostCall, HostError, MCP_NAMESPACE, Map, McpReport, McpValue,
    MetricKind, Metrics as _, call_result,
};
use serde_json::Value;

use super::abi::{self, Buffer, ConfigMetrics, Envoy, Header, Secrets, Stored};
use super::metrics::{Metric, Metrics, Name};

/// `response.code_details`.
const CODE_DETAILS: i32 = 16;

/// `connection.sha256_peer_certificate_digest`.
const PEER_CERTIFICATE_DIGEST: i32 = 38;

/// Dynamic metadata, of the kinds of metadata.
const DYNAMIC: i32 = 0;

/// The object in filter state in which Envoy's filter `mcp` keeps its results.
const MCP_STATE: &str = "envoy.filters.http.mcp.request";

/// The status of a call that Envoy refuses without a reason.
const REFUSED: u8 = 1;

/// Writes a line to the log.
pub(crate) fn log(level: i32, line: &str) {
    // SAFETY: the line lives during the call.
    unsafe { abi::log(level, Buffer::of(line.as_bytes())) }
}

/// Whether lines of this level are logged.
pub(crate) fn log_enabled(level: i32) -> bool {
    // SAFETY: no memory is involved.
    unsafe { abi::log_enabled(level) }
}

/// The number of worker threads. It must be called on the main thread.
pub(crate) fn concurrency() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { abi::get_concurrency() }
}

/// The current time.
pub(crate) fn now() -> Result<Timestamp, HostError> {
    #[expect(clippy::disallowed_methods, reason = "this is the host")]
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.ok().and_then(|since| u64::try_from(since.as_millis()).ok());
    let failed = HostError { call: HostCall::Now, status: REFUSED };
    millis.map(Timestamp::from_millis).ok_or(failed)
}

/// Whether Envoy did what it was told.
fn done(call: HostCall, done: bool) -> Result<(), HostError> {
    if done { Ok(()) } else { Err(HostError { call, status: REFUSED }) }
}

/// Whether Envoy changed a metric.
fn changed(call: HostCall, status: i32) -> Result<(), HostError> {
    match status {
        0 => Ok(()),
        _ => Err(HostError { call, status: status.try_into().unwrap_or(u8::MAX) }),
    }
}

/// A configuration while it is created.
#[derive(Debug)]
pub(crate) struct NewConfig<'h>(Envoy, PhantomData<&'h ()>);

impl NewConfig<'_> {
    /// # Safety
    /// `config` must be the configuration of Envoy that a hook creates during `'h`, on the main
    /// thread.
    pub(crate) unsafe fn new(config: Envoy) -> Self {
        Self(config, PhantomData)
    }

    /// Defines a metric with labels, and returns Envoy's number of it among those of its kind.
    ///
    /// # Errors
    /// Envoy refuses it.
    pub(crate) fn define(&self, kind: MetricKind, name: &Name<'_>) -> Result<usize, HostError> {
        let labels: Vec<Buffer> =
            name.labels.iter().map(|(label, _)| Buffer::of(label.as_bytes())).collect();
        let define = match kind {
            MetricKind::Counter => abi::define_counter,
            MetricKind::Gauge => abi::define_gauge,
            MetricKind::Histogram => abi::define_histogram,
        };
        let mut id = 0;
        let base = Buffer::of(name.base.as_bytes());
        // SAFETY: the configuration is being created, and all pointers are to live memory.
        let status = unsafe { define(self.0, base, labels.as_ptr(), labels.len(), &raw mut id) };
        changed(HostCall::DefineMetric, status).map(|()| id)
    }

    /// Has Envoy obtain a secret: from an `envoy.config.core.v3.ConfigSource` in JSON, or a static
    /// one.
    pub(crate) fn subscribe(&self, name: &str, source: Option<&str>) -> Result<SecretId, String> {
        let secrets = Secrets::find().ok_or("requires Envoy 1.40")?;
        let source = source.unwrap_or_default();
        let (name, source) = (Buffer::of(name.as_bytes()), Buffer::of(source.as_bytes()));
        // SAFETY: the configuration is being created, and the buffers are live memory.
        match unsafe { (secrets.subscribe)(self.0, name, source) } {
            0 => Err("rejected by Envoy, whose log says why".to_owned()),
            number => Ok(SecretId { number, secrets }),
        }
    }

    /// What remains of the configuration afterwards.
    pub(crate) fn finish(&self) -> Config {
        // SAFETY: the configuration is being created, on the main thread.
        let scheduler = unsafe { abi::config_scheduler_new(self.0) };
        Config { envoy: self.0, scheduler, functions: &FILTER }
    }

    /// The same for the configuration of a bootstrap extension. Envoy then opens its listeners.
    pub(crate) fn finish_bootstrap(self) -> Config {
        // SAFETY: the configuration is being created, on the main thread.
        let scheduler = unsafe {
            abi::bootstrap_init_complete(self.0);
            abi::bootstrap_scheduler_new(self.0)
        };
        Config { envoy: self.0, scheduler, functions: &BOOTSTRAP }
    }
}

/// A secret that Envoy obtains.
#[derive(Clone, Copy)]
pub(crate) struct SecretId {
    number: usize,
    secrets: Secrets,
}

/// A configuration of Envoy's, until its destruction is announced.
#[derive(Debug)]
pub(crate) struct Config {
    envoy: Envoy,
    scheduler: Envoy,
    functions: &'static Functions,
}

/// The functions of a kind of configuration.
#[derive(Debug)]
struct Functions {
    commit: unsafe extern "C" fn(Envoy, u64),
    delete: unsafe extern "C" fn(Envoy),
    call: unsafe extern "C" fn(Envoy, *mut u64, Buffer, *const Header, usize, Buffer, u64) -> i32,
}

/// The functions of the configuration of a filter.
const FILTER: Functions = Functions {
    commit: abi::config_scheduler_commit,
    delete: abi::config_scheduler_delete,
    call: abi::config_http_callout,
};

/// The functions of the configuration of a bootstrap extension.
const BOOTSTRAP: Functions = Functions {
    commit: abi::bootstrap_scheduler_commit,
    delete: abi::bootstrap_scheduler_delete,
    call: abi::bootstrap_http_callout,
};

// SAFETY: the scheduler may be used in any thread, and the methods that use the configuration say
// that they are for the main thread.
unsafe impl Send for Config {}
// SAFETY: as above.
unsafe impl Sync for Config {}

impl Config {
    /// Has Envoy call the hook for scheduled events on the main thread.
    pub(crate) fn schedule(&self) {
        // SAFETY: the scheduler lives until `self` is dropped, and may be used in any thread.
        unsafe { (self.functions.commit)(self.scheduler, 0) }
    }

    /// Sends a request to a cluster, and returns the number under which its end is announced. It
    /// may end before this function returns. It must be called on the main thread.
    pub(crate) fn http_call(&self, call: &Call) -> Result<u64, CallFailure> {
        // Envoy adds it to the calls of filters only, and many servers read no chunked bodies.
        let length = call.body.len().to_string();
        let headers = call.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers: Vec<Header> = headers
            .chain([(b"content-length".as_slice(), length.as_bytes())])
            .map(|(name, value)| Header::of(name, value))
            .collect();
        let timeout = u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX);
        let mut number = 0;
        // SAFETY: the configuration lives until its destruction is announced, which drops `self`;
        // all other pointers are to live memory, which Envoy copies.
        let status = unsafe {
            (self.functions.call)(
                self.envoy,
                &raw mut number,
                Buffer::of(call.cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                Buffer::of(call.body.as_bytes()),
                timeout,
            )
        };
        match status {
            0 => Ok(number),
            2 => Err(CallFailure::UnknownCluster),
            _ => Err(CallFailure::NotSent),
        }
    }

    /// A secret as Envoy has it now; empty if there is none. It must be one of this configuration.
    pub(crate) fn secret(&self, id: SecretId) -> Option<Vec<u8>> {
        let mut value = Buffer::NONE;
        // SAFETY: the configuration lives until its destruction is announced, which drops `self`,
        // and the pointer is to live memory.
        let found = unsafe { (id.secrets.get)(self.envoy, id.number, &raw mut value) };
        // SAFETY: the value lives until the hook ends, and is copied here.
        found.then(|| unsafe { value.bytes() }.to_vec())
    }

    /// Identifies it among all that live.
    pub(crate) fn address(&self) -> usize {
        self.envoy.addr()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it was created with `self` and is deleted once.
        unsafe { (self.functions.delete)(self.scheduler) }
    }
}

/// Metrics outside of any stream, for the main thread.
#[derive(Clone, Copy)]
pub(crate) struct MainMetrics<'c> {
    config: &'c Config,
    metrics: &'c Metrics,
    functions: ConfigMetrics,
}

impl<'c> MainMetrics<'c> {
    /// The metrics of a configuration, if this Envoy can change them outside of streams.
    pub(crate) fn new(config: &'c Config, metrics: &'c Metrics) -> Option<Self> {
        Some(Self { config, metrics, functions: ConfigMetrics::find()? })
    }

    /// Has counters and gauges exist before they change. A gauge may have a value already.
    pub(crate) fn create(&self) {
        for number in self.metrics.numbers() {
            // If Envoy refuses, it does so again, with a line, when the metric changes.
            let _ = self.increment_metric(number, 0);
        }
    }
}

impl oauth2_filter_driver::Metrics for MainMetrics<'_> {
    fn now(&self) -> Result<Timestamp, HostError> {
        now()
    }

    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError> {
        let Some(metric) = self.metrics.get(number) else { return Ok(()) };
        let record = match metric.kind {
            MetricKind::Gauge => self.functions.set_gauge,
            _ => self.functions.record_histogram_value,
        };
        let status = metric.with(|id, labels| {
            // SAFETY: the configuration lives, and the labels are live memory.
            unsafe { record(self.config.envoy, id, labels.as_ptr(), labels.len(), value) }
        });
        changed(HostCall::RecordMetric, status)
    }

    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError> {
        let Some(metric) = self.metrics.get(number) else { return Ok(()) };
        let change = match metric.kind {
            MetricKind::Counter => self.functions.increment_counter,
            MetricKind::Gauge if by < 0 => self.functions.decrement_gauge,
            MetricKind::Gauge => self.functions.increment_gauge,
            // A histogram has no value to change.
            MetricKind::Histogram => return Ok(()),
        };
        let status = metric.with(|id, labels| {
            // SAFETY: the configuration lives, and the labels are live memory.
            unsafe {
                change(self.config.envoy, id, labels.as_ptr(), labels.len(), by.unsigned_abs())
            }
        });
        changed(HostCall::IncrementMetric, status)
    }
}

/// A request whose hook runs.
#[derive(Clone, Copy)]
pub(crate) struct Request<'h> {
    filter: Envoy,
    metrics: &'h Metrics,
    route: Option<RouteAddress>,
}

/// What Envoy got for the document of a route.
pub(crate) type RouteAddress = NonZeroUsize;

impl<'h> Request<'h> {
    /// # Safety
    /// `filter` must be the filter of Envoy whose hook runs during `'h`, on its worker thread.
    pub(crate) unsafe fn new(filter: Envoy, metrics: &'h Metrics) -> Self {
        Self { filter, metrics, route: None }
    }

    /// The same for a request that the document of this route decides on.
    pub(crate) fn of_route(self, route: RouteAddress, metrics: &'h Metrics) -> Self {
        Self { metrics, route: Some(route), ..self }
    }

    /// The document of the request's route. It may be one of another module.
    pub(crate) fn route(self) -> Option<RouteAddress> {
        // SAFETY: the filter lives during the hook.
        NonZeroUsize::new(unsafe { abi::get_route_config(self.filter) }.addr())
    }

    /// The number of the worker thread.
    pub(crate) fn worker(self) -> u32 {
        // SAFETY: the filter lives during the hook.
        unsafe { abi::get_worker_index(self.filter) }
    }

    /// What has Envoy call the hook for scheduled events of this request.
    pub(crate) fn scheduler(self) -> StreamScheduler {
        // SAFETY: the filter lives during the hook.
        StreamScheduler(unsafe { abi::stream_scheduler_new(self.filter) })
    }

    /// Reads the head of the request with `read`, which must not change the request.
    pub(crate) fn read_head<R>(
        self,
        end_of_stream: bool,
        read: impl FnOnce(&RequestHead<'_>) -> R,
    ) -> R {
        let (fields, failure) = Default::default();
        read(&RequestHead { request: self, end_of_stream, fields, failure })
    }

    /// A string in the dynamic metadata of Envoy's filter `mcp`.
    fn mcp_string(&self, stored: Stored, key: &str) -> McpValue<'_> {
        let mut value = Buffer::NONE;
        let [namespace, key] = [MCP_NAMESPACE, key].map(|text| Buffer::of(text.as_bytes()));
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        let found = unsafe {
            (stored.metadata_string)(self.filter, DYNAMIC, namespace, key, &raw mut value)
        };
        if !found {
            return McpValue::Absent;
        }
        // SAFETY: the value lives until the hook ends or metadata changes (`read_head`).
        std::str::from_utf8(unsafe { value.bytes() }).map_or(McpValue::Other, McpValue::Text)
    }

    /// A boolean in the dynamic metadata of Envoy's filter `mcp`.
    fn mcp_bool(&self, stored: Stored, key: &str) -> McpValue<'_> {
        let mut value = false;
        let [namespace, key] = [MCP_NAMESPACE, key].map(|text| Buffer::of(text.as_bytes()));
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        let found =
            unsafe { (stored.metadata_bool)(self.filter, DYNAMIC, namespace, key, &raw mut value) };
        if found { McpValue::Bool(value) } else { McpValue::Absent }
    }

    /// The message that Envoy's filter `mcp` has put into filter state, as JSON. From dynamic
    /// metadata, there is no function for a value within another.
    fn mcp_message(&self, stored: Stored) -> Option<Value> {
        let mut value = Buffer::NONE;
        let name = Buffer::of(MCP_STATE.as_bytes());
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        let found = unsafe { (stored.filter_state)(self.filter, name, &raw mut value) };
        // SAFETY: the value lives until the hook ends or filter state changes (`read_head`).
        serde_json::from_slice(found.then(|| unsafe { value.bytes() })?).ok()
    }

    /// The body, as far as Envoy's filter `mcp` has read it.
    fn mcp(&self) -> Body {
        let Some(stored) = Stored::find() else { return Body::Unread };
        let message = self.mcp_message(stored);
        let mut report = McpReport {
            is_mcp_request: self.mcp_bool(stored, "is_mcp_request"),
            status: self.mcp_string(stored, "status"),
            is_exceeding_limit: self.mcp_bool(stored, "is_exceeding_limit"),
            passthrough_reason: self.mcp_string(stored, "passthrough_reason"),
            ..McpReport::default()
        };
        if let Some(message) = &message {
            let value = |path: &str| match message.pointer(path) {
                None => McpValue::Absent,
                Some(Value::String(text)) => McpValue::Text(text),
                Some(_) => McpValue::Other,
            };
            report.method = value("/method");
            report.name = value("/params/name");
            report.uri = value("/params/uri");
        } else if report.passthrough_reason == McpValue::Absent {
            // The filter was not told to put the message there.
            return Body::Unread;
        }
        report.body()
    }

    /// One value of a header, and how many there are.
    fn value(&self, map: Map, name: &str, index: usize) -> Option<(&[u8], usize)> {
        let mut value = Buffer::NONE;
        let mut count = 0;
        let name = Buffer::of(name.as_bytes());
        // SAFETY: the filter lives during the hook, and all pointers are to live memory.
        let found = unsafe {
            abi::get_header(
                self.filter,
                map_number(map)?,
                name,
                &raw mut value,
                index,
                &raw mut count,
            )
        };
        // SAFETY: the value lives until the hook ends or the headers change. Callers copy it, or
        // read it while nothing changes (`read_head`).
        found.then(|| (unsafe { value.bytes() }, count))
    }

    /// Whether the request is one of gRPC.
    fn is_grpc(&self) -> bool {
        let kind = self.value(Map::RequestHeaders, "content-type", 0);
        kind.is_some_and(|(kind, _)| match kind.strip_prefix(b"application/grpc") {
            Some(rest) => rest.is_empty() || matches!(rest.first(), Some(b'+' | b';')),
            None => false,
        })
    }

    /// Sets a header, or removes it.
    fn change_header(
        &self,
        call: HostCall,
        map: Map,
        name: &[u8],
        value: Buffer,
    ) -> Result<(), HostError> {
        let Some(map) = map_number(map) else { return done(call, false) };
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        done(call, unsafe { abi::set_header(self.filter, map, Buffer::of(name), value) })
    }

    fn attribute(&self, attribute: i32) -> Option<Cow<'_, [u8]>> {
        let mut value = Buffer::NONE;
        // SAFETY: the filter lives during the hook, and the pointer is to live memory.
        let found = unsafe { abi::get_attribute_string(self.filter, attribute, &raw mut value) };
        // SAFETY: the value lives until the hook ends, and is copied here.
        found.then(|| Cow::Owned(unsafe { value.bytes() }.to_vec()))
    }
}

/// A header map by its number in the ABI. The responses to calls are not in a map.
fn map_number(map: Map) -> Option<i32> {
    match map {
        Map::RequestHeaders => Some(0),
        Map::RequestTrailers => Some(1),
        Map::ResponseHeaders => Some(2),
        Map::CallResponseHeaders => None,
    }
}

impl oauth2_filter_driver::Metrics for Request<'_> {
    fn now(&self) -> Result<Timestamp, HostError> {
        now()
    }

    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError> {
        let Some(metric) = self.metrics.get(number) else { return Ok(()) };
        let record = match metric.kind {
            MetricKind::Gauge => abi::set_gauge,
            _ => abi::record_histogram_value,
        };
        changed(HostCall::RecordMetric, self.change(metric, record, value))
    }

    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError> {
        let Some(metric) = self.metrics.get(number) else { return Ok(()) };
        let change = match metric.kind {
            MetricKind::Gauge if by < 0 => abi::decrement_gauge,
            MetricKind::Gauge => abi::increment_gauge,
            _ => abi::increment_counter,
        };
        changed(HostCall::IncrementMetric, self.change(metric, change, by.unsigned_abs()))
    }
}

impl Request<'_> {
    /// Changes a metric with one of Envoy's functions.
    fn change(&self, metric: &Metric, change: abi::ChangeMetric, value: u64) -> i32 {
        metric.with(|id, labels| {
            // SAFETY: the filter lives during the hook, and the labels are live memory.
            unsafe { change(self.filter, id, labels.as_ptr(), labels.len(), value) }
        })
    }
}

impl Host for Request<'_> {
    fn header(&self, map: Map, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        // Copied, because a change of the headers would free it.
        Ok(self.value(map, name, 0).map(|(value, _)| Cow::Owned(value.to_vec())))
    }

    fn headers(&self, map: Map) -> Result<Fields, HostError> {
        let failed = HostError { call: HostCall::Headers, status: REFUSED };
        let map = map_number(map).ok_or(failed)?;
        // SAFETY: the filter lives during the hook.
        let size = unsafe { abi::get_headers_size(self.filter, map) };
        let mut headers = vec![Header::NONE; size];
        // SAFETY: the filter lives during the hook, and there is room for all headers.
        let read = unsafe { abi::get_headers(self.filter, map, headers.as_mut_ptr()) };
        if !read && size > 0 {
            return Err(failed);
        }
        // SAFETY: the headers live until the hook ends or they change; here they are copied.
        let bytes = |buffer: Buffer| unsafe { buffer.bytes() };
        Ok(Fields::copy_of(headers.iter().map(|header| (bytes(header.name), bytes(header.value)))))
    }

    fn set_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        let value = Buffer::of(value.as_bytes());
        self.change_header(HostCall::SetHeader, map, name.as_bytes(), value)
    }

    fn add_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        let call = HostCall::AddHeader;
        let Some(map) = map_number(map) else { return done(call, false) };
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value.as_bytes()));
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        done(call, unsafe { abi::add_header(self.filter, map, name, value) })
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        self.change_header(HostCall::RemoveHeader, map, name, Buffer::NONE)
    }

    fn property(&self, path: &[&str]) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        Ok(match path {
            ["response", "code_details"] => self.attribute(CODE_DETAILS),
            ["connection", "sha256_peer_certificate_digest"] => {
                self.attribute(PEER_CERTIFICATE_DIGEST)
            }
            _ => return Err(HostError { call: HostCall::Property, status: REFUSED }),
        })
    }

    fn set_filter_state(&self, name: &str, value: &str) -> Result<(), HostError> {
        // The prefix that Envoy's WebAssembly filter adds, so that policies and formats need not
        // know which host runs.
        let mut buffer = [0; 64];
        let parts = [b"wasm.", name.as_bytes()];
        let mut rest = &mut buffer[..];
        let is_short = parts.iter().all(|part| rest.write_all(part).is_ok());
        let length = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        let name = buffer.get(..length).filter(|_| is_short);
        let Some(name) = name else { return done(HostCall::SetFilterState, false) };
        // SAFETY: the filter lives during the hook, and the pointers are to live memory.
        let set = unsafe {
            abi::set_filter_state(self.filter, Buffer::of(name), Buffer::of(value.as_bytes()))
        };
        done(HostCall::SetFilterState, set)
    }

    fn select_route_again(&self, _: Changed) -> Result<(), HostError> {
        // SAFETY: the filter lives during the hook.
        unsafe { abi::clear_route_cache(self.filter) }
        // What another document says of the request is not known.
        done(HostCall::ForeignFunction, self.route() == self.route)
    }

    fn send_local_response(&self, reply: &Reply) -> Result<(), HostError> {
        let mut headers: Vec<Header> = reply
            .headers
            .iter()
            .map(|(name, value)| Header::of(name.as_bytes(), value.as_bytes()))
            .collect();
        let grpc_status = reply.grpc_status.to_string();
        if self.is_grpc() {
            // Without it, Envoy answers that the call has succeeded.
            headers.push(Header::of(b"grpc-status", grpc_status.as_bytes()));
        }
        // SAFETY: the filter lives during the hook, and all pointers are to live memory.
        unsafe {
            abi::send_response(
                self.filter,
                reply.status.into(),
                headers.as_ptr(),
                headers.len(),
                Buffer::of(reply.body.as_bytes()),
                Buffer::of(reply.details.as_bytes()),
            );
        }
        Ok(())
    }

    fn resume_request(&self) -> Result<(), HostError> {
        // SAFETY: the filter lives during the hook.
        unsafe { abi::continue_decoding(self.filter) }
        Ok(())
    }
}

/// The head of a request, read in place.
pub(crate) struct RequestHead<'r> {
    request: Request<'r>,
    /// Whether the request ends with its headers.
    end_of_stream: bool,
    fields: OnceCell<Fields>,
    failure: Cell<Option<HostError>>,
}

impl RequestHead<'_> {
    /// The failure of Envoy, if any: then nothing may be forwarded.
    pub(crate) fn failure(&self) -> Option<HostError> {
        self.failure.get()
    }
}

impl Head for RequestHead<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if let Some(fields) = self.fields.get() {
            return fields.joined(name);
        }
        match self.request.value(Map::RequestHeaders, name, 0)? {
            (value, ..=1) => Some(Cow::Borrowed(value)),
            // As Envoy's WebAssembly filter shows them.
            (_, 2..) => self.fields().joined(name),
        }
    }

    fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| {
            self.request.headers(Map::RequestHeaders).unwrap_or_else(|error| {
                self.failure.set(Some(error));
                Fields::default()
            })
        })
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        digest_from_hex(&self.request.attribute(PEER_CERTIFICATE_DIGEST)?)
    }

    fn body(&self) -> Body {
        if self.end_of_stream { Body::Empty } else { self.request.mcp() }
    }
}

/// What has Envoy call the hook for scheduled events of a request on its worker thread, for as long
/// as the request lives.
#[derive(Debug)]
pub(crate) struct StreamScheduler(Envoy);

// SAFETY: a scheduler may be used in any thread.
unsafe impl Send for StreamScheduler {}

impl StreamScheduler {
    pub(crate) fn schedule(&self) {
        // SAFETY: the scheduler lives until `self` is dropped.
        unsafe { abi::stream_scheduler_commit(self.0, 0) }
    }
}

impl Drop for StreamScheduler {
    fn drop(&mut self) {
        // SAFETY: it was created with `self` and is deleted once.
        unsafe { abi::stream_scheduler_delete(self.0) }
    }
}

/// The response to a call, while its end is announced.
pub(crate) struct Response<'h> {
    headers: &'h [Header],
    body: &'h [Buffer],
}

impl<'h> Response<'h> {
    /// # Safety
    /// The lists must be those of a hook that runs during `'h`.
    pub(crate) unsafe fn new(headers: &'h [Header], body: &'h [Buffer]) -> Self {
        Self { headers, body }
    }

    /// The result of the call.
    pub(crate) fn result(&self) -> Result<Answer, CallFailure> {
        call_result(self).unwrap_or(Err(CallFailure::Unreachable))
    }

    fn part(buffer: Buffer) -> &'h [u8] {
        // SAFETY: the buffers live during the hook.
        unsafe { buffer.bytes() }
    }
}

impl CallResponse for Response<'_> {
    fn header(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        let header = self.headers.iter().find(|header| Self::part(header.name) == name.as_bytes());
        Ok(header.map(|header| Cow::Borrowed(Self::part(header.value))))
    }

    fn body_size(&self) -> usize {
        self.body.iter().map(|chunk| Self::part(*chunk).len()).fold(0, usize::saturating_add)
    }

    fn body(&self) -> Result<Vec<u8>, HostError> {
        Ok(self.body.iter().flat_map(|chunk| Self::part(*chunk)).copied().collect())
    }
}
