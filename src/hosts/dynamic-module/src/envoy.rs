//! Safe wrappers of Envoy's functions: those for the process, for configurations, and for calls.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::SystemTime;

use oauth2_filter_core::{Answer, Call, CallFailure, Timestamp};
use oauth2_filter_driver::{
    CallResponse, HostCall, HostError, MetricKind, Metrics as _, call_result,
};

use super::abi::{self, Buffer, ConfigMetrics, Envoy, Header, Secrets};
use super::metrics::{Metrics, Name};

/// The status of a call that Envoy refuses without a reason.
pub(crate) const REFUSED: u8 = 1;

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
pub(crate) fn done(call: HostCall, done: bool) -> Result<(), HostError> {
    if done { Ok(()) } else { Err(HostError { call, status: REFUSED }) }
}

/// Whether Envoy changed a metric.
pub(crate) fn changed(call: HostCall, status: i32) -> Result<(), HostError> {
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
        let length = (b"content-length".as_slice(), length.as_bytes());
        let headers = call.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let headers: Vec<Header> = headers
            .chain((!call.body.is_empty()).then_some(length))
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
