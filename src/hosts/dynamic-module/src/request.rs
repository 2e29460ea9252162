//! Safe wrappers of Envoy's functions for a request whose hook runs.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::io::Write;
use std::num::NonZeroUsize;

use oauth2_filter_core::{Body, Fields, Head, Reply, Timestamp, digest_from_hex, is_grpc_type};
use oauth2_filter_driver::{
    Changed, Host, HostCall, HostError, MCP_NAMESPACE, Map, McpReport, McpValue, MetricKind,
};
use serde_json::Value;

use super::abi::{self, Buffer, Envoy, Header, Stored};
use super::envoy::{REFUSED, changed, done, now};
use super::metrics::{Metric, Metrics};

/// `response.code_details`.
const CODE_DETAILS: i32 = 16;

/// `connection.sha256_peer_certificate_digest`.
const PEER_CERTIFICATE_DIGEST: i32 = 38;

/// Dynamic metadata, of the kinds of metadata.
const DYNAMIC: i32 = 0;

/// The object in filter state in which Envoy's filter `mcp` keeps its results.
const MCP_STATE: &str = "envoy.filters.http.mcp.request";

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
        kind.is_some_and(|(kind, _)| is_grpc_type(kind))
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
