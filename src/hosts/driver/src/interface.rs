//! What the driver needs from a host, as a trait: nothing in it panics, and every call that the
//! host can refuse returns an error.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use oauth2_filter_core::{Call, CallFailure, Fields, Reply, Sign, Timestamp, Verify};

/// What a host does at any time.
pub trait Metrics {
    /// Returns the current time.
    fn now(&self) -> Result<Timestamp, HostError>;

    /// Sets a gauge, or adds a value to a histogram.
    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError>;

    /// Increments a counter or a gauge.
    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError>;
}

/// What a host does for the request whose callback runs.
///
/// Reads return `None` for what does not exist, and an error for everything else that the host
/// does not return.
pub trait Host: Metrics {
    /// One value of a header map: if there are several, the first, unless the host joins them.
    fn header(&self, map: Map, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError>;

    /// A whole header map.
    fn headers(&self, map: Map) -> Result<Fields, HostError>;

    /// Sets a header; no other value of it remains.
    fn set_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError>;

    /// Adds a value to a header.
    fn add_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError>;

    /// Removes every value of a header.
    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError>;

    /// A property of the request, its connection or its response, by the parts of its path.
    fn property(&self, path: &[&str]) -> Result<Option<Cow<'_, [u8]>>, HostError>;

    /// Sets filter state of the request, under `wasm.` and this name.
    fn set_filter_state(&self, name: &str, value: &str) -> Result<(), HostError>;

    /// Has the host select the route again, which may depend on headers and on filter state.
    fn select_route_again(&self, changed: Changed) -> Result<(), HostError>;

    /// Answers the request. The host sends names and values as they are: they must not contain
    /// line breaks.
    fn send_local_response(&self, reply: &Reply) -> Result<(), HostError>;

    /// Lets a paused request continue.
    fn resume_request(&self) -> Result<(), HostError>;
}

/// What has changed in a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Changed {
    /// Headers, and perhaps filter state.
    Headers,
    /// Filter state only.
    FilterState,
}

/// A host with the ABI of proxy-wasm. Its calls apply to the effective context: the stream or root
/// whose callback runs, until [`ProxyWasm::set_effective_context`] selects another one.
pub trait ProxyWasm: Host + Clone {
    /// Signs client assertions.
    const SIGN: Sign;

    /// Verifies the signatures of tokens.
    const VERIFY: Verify;

    /// Sets the level of the log to that of the host.
    fn adopt_log_level(&self) -> Result<(), HostError>;

    /// Fills a buffer with random bytes.
    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError>;

    /// An environment variable of the VM.
    fn variable(&self, name: &str) -> Option<String>;

    /// The configuration of a root context, during its configuration callback.
    fn configuration(&self, size: usize) -> Result<Option<Vec<u8>>, HostError>;

    /// Calls a function that not every host has; `None` if this one does not.
    fn foreign_function(&self, name: &str, arguments: &[u8]) -> Result<Option<Vec<u8>>, HostError>;

    /// Sends a request to a cluster, and returns the number under which its end is announced to
    /// the root context.
    fn http_call(&self, call: &Call) -> Result<u32, CallFailure>;

    /// The body of the response to a call, while the end of the call is announced.
    fn call_response_body(&self, size: usize) -> Result<Option<Vec<u8>>, HostError>;

    /// Selects the context that the following calls apply to, until the callback returns.
    fn set_effective_context(&self, context: u32) -> Result<(), HostError>;

    /// Sets the time between two ticks of the root context; zero stops them.
    fn set_tick_period(&self, period: Duration) -> Result<(), HostError>;

    /// Releases a root context whose end was put off.
    fn done(&self) -> Result<(), HostError>;

    /// Defines a metric, and returns its number.
    fn define_metric(&self, kind: MetricKind, name: &str) -> Result<u32, HostError>;

    /// A value in shared data and the number of its last write.
    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError>;

    /// Writes to shared data, with `after` only if that was the last write. Whether it was written.
    fn set_shared_data(
        &self,
        key: &str,
        value: &[u8],
        after: Option<u32>,
    ) -> Result<bool, HostError>;
}

/// A header map, by its number in the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Map {
    /// The headers of the request.
    RequestHeaders = 0,
    /// The trailers of the request.
    RequestTrailers = 1,
    /// The headers of the response.
    ResponseHeaders = 2,
    /// The headers of the response to a call.
    CallResponseHeaders = 6,
}

/// A kind of metric, by its number in the ABI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only goes up.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Counts values by their size.
    Histogram = 2,
}

/// A call that the host refuses, and the status that it returns. It is small, because every call
/// returns one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HostError {
    /// The call.
    pub call: HostCall,
    /// The status, by its number in the ABI.
    pub status: u8,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            HostCall::OnRequestHeaders | HostCall::Hook => f.write_str(self.call.name()),
            call => write!(f, "{} returned status {}", call.name(), self.status),
        }
    }
}

/// A call into the host that it can refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "they are the calls of the trait")]
pub enum HostCall {
    LogLevel,
    Now,
    Random,
    Buffer,
    Header,
    Headers,
    SetHeader,
    AddHeader,
    RemoveHeader,
    Property,
    SetFilterState,
    ForeignFunction,
    SendLocalResponse,
    ResumeRequest,
    SetEffectiveContext,
    SetTickPeriod,
    Done,
    DefineMetric,
    RecordMetric,
    IncrementMetric,
    SharedData,
    SetSharedData,
    /// The callback for the headers of a request, which has to come first.
    OnRequestHeaders,
    /// A callback that has panicked, where that does not end the host.
    Hook,
}

impl HostCall {
    /// Its name in the ABI.
    fn name(self) -> &'static str {
        match self {
            Self::LogLevel => "proxy_get_log_level",
            Self::Now => "proxy_get_current_time_nanoseconds",
            Self::Random => "random_get",
            Self::Buffer => "proxy_get_buffer_bytes",
            Self::Header => "proxy_get_header_map_value",
            Self::Headers => "proxy_get_header_map_pairs",
            Self::SetHeader => "proxy_replace_header_map_value",
            Self::AddHeader => "proxy_add_header_map_value",
            Self::RemoveHeader => "proxy_remove_header_map_value",
            Self::Property => "proxy_get_property",
            Self::SetFilterState => "proxy_set_property",
            Self::ForeignFunction => "proxy_call_foreign_function",
            Self::SendLocalResponse => "proxy_send_local_response",
            Self::ResumeRequest => "proxy_continue_stream",
            Self::SetEffectiveContext => "proxy_set_effective_context",
            Self::SetTickPeriod => "proxy_set_tick_period_milliseconds",
            Self::Done => "proxy_done",
            Self::DefineMetric => "proxy_define_metric",
            Self::RecordMetric => "proxy_record_metric",
            Self::IncrementMetric => "proxy_increment_metric",
            Self::SharedData => "proxy_get_shared_data",
            Self::SetSharedData => "proxy_set_shared_data",
            Self::OnRequestHeaders => "received a body or trailers without request headers",
            Self::Hook => "a callback has panicked",
        }
    }
}
