//! A proxy in memory that the driver runs in. It can refuse each call into it by name.

use std::borrow::Cow;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use oauth2_filter_core::{Call, CallFailure, Fields, Reply, Sign, Timestamp, Verify};
use oauth2_filter_driver::{
    Changed, Host, HostCall, HostError, Map, MetricKind, Metrics, ProxyWasm,
};

use crate::signatures;

/// `BadArgument` of the ABI, which a proxy returns for what does not exist now.
const BAD_ARGUMENT: u8 = 2;

/// Headers or trailers.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A response to a call, while its end is announced: headers and body.
type CallResponse = (Vec<(String, String)>, Vec<u8>);

thread_local! {
    /// How the proxies of this thread, and so of this test, verify signatures.
    static VERIFY: Cell<Verify> = const { Cell::new(signatures::verify) };
}

/// Sets how the proxies of this test verify signatures.
pub fn verify_by(verify: Verify) {
    VERIFY.set(verify);
}

/// One worker thread of a proxy, as the driver sees it. Clones are the same one.
#[derive(Clone, Default)]
pub struct Proxy(Rc<State>);

#[derive(Default)]
struct State {
    now: Cell<u64>,
    /// What it refuses; with a name, only for that header, property, metric, function or context.
    refused: RefCell<Vec<(HostCall, Option<String>)>>,
    effective: Cell<u32>,
    configuration: RefCell<Vec<u8>>,
    streams: RefCell<HashMap<u32, Stream>>,
    calls: RefCell<Vec<Option<Call>>>,
    call_failure: Cell<Option<CallFailure>>,
    call_response: RefCell<Option<CallResponse>>,
    functions: RefCell<HashMap<String, Vec<u8>>>,
    tick_periods: RefCell<HashMap<u32, Duration>>,
    timers_set: Cell<usize>,
    levels_read: Cell<usize>,
    metadata_read: Cell<usize>,
    released: RefCell<Vec<u32>>,
    metrics: RefCell<Vec<(String, i64)>>,
    data: Rc<RefCell<SharedData>>,
}

/// Shared data: values and the numbers of their last writes, and the number of the last of all.
type SharedData = (HashMap<String, (Vec<u8>, u32)>, u32);

/// A request in the proxy.
#[derive(Debug, Default)]
pub struct Stream {
    pub headers: Headers,
    pub trailers: Option<Headers>,
    pub response: Headers,
    /// The certificate of its connection, in hexadecimal.
    pub certificate: Option<String>,
    /// All dynamic metadata, in protobuf.
    pub metadata: Vec<u8>,
    /// `code_details` of its response.
    pub details: Option<&'static str>,
    pub state: HashMap<String, String>,
    pub routes_cleared: usize,
    /// What the filter has answered; a proxy ignores a second answer.
    pub reply: Option<Reply>,
    /// Whether its headers have left the filter.
    pub continued: bool,
}

impl Proxy {
    /// Another worker thread of the same proxy: it has the same clock and shared data.
    pub fn another(&self) -> Self {
        let state = State { data: Rc::clone(&self.0.data), ..State::default() };
        state.now.set(self.0.now.get());
        Self(Rc::new(state))
    }

    /// How often dynamic metadata was read.
    pub fn metadata_read(&self) -> usize {
        self.0.metadata_read.get()
    }

    /// Refuses a call from now on.
    pub fn refuse(&self, call: HostCall) {
        self.0.refused.borrow_mut().push((call, None));
    }

    /// Refuses a call from now on, where it is about this name.
    pub fn refuse_for(&self, call: HostCall, name: &str) {
        self.0.refused.borrow_mut().push((call, Some(name.to_owned())));
    }

    /// Refuses nothing any more.
    pub fn grant_all(&self) {
        self.0.refused.borrow_mut().clear();
        self.0.call_failure.set(None);
    }

    /// Refuses calls to authorization servers.
    pub fn refuse_calls(&self, failure: CallFailure) {
        self.0.call_failure.set(Some(failure));
    }

    pub fn advance(&self, by: Duration) {
        self.0.now.set(self.0.now.get() + u64::try_from(by.as_millis()).unwrap());
    }

    pub fn set_clock(&self, millis: u64) {
        self.0.now.set(millis);
    }

    pub fn set_configuration(&self, document: &str) {
        *self.0.configuration.borrow_mut() = document.as_bytes().to_vec();
    }

    /// Selects the context whose callback runs.
    pub fn enter(&self, context: u32) {
        self.0.effective.set(context);
    }

    pub fn stream(&self, stream: u32) -> RefMut<'_, Stream> {
        RefMut::map(self.0.streams.borrow_mut(), |all| all.entry(stream).or_default())
    }

    pub fn remove(&self, stream: u32) {
        self.0.streams.borrow_mut().remove(&stream);
    }

    /// The numbers of the calls in flight.
    pub fn calls(&self) -> Vec<u32> {
        let calls = self.0.calls.borrow();
        let open = calls.iter().enumerate().filter(|(_, call)| call.is_some());
        open.map(|(number, _)| u32::try_from(number).unwrap()).collect()
    }

    /// A call in flight.
    pub fn call(&self, number: u32) -> Call {
        self.0.calls.borrow()[number as usize].clone().expect("a call in flight")
    }

    /// How many calls were made in all.
    pub fn calls_made(&self) -> usize {
        self.0.calls.borrow().len()
    }

    /// Ends a call.
    pub fn take_call(&self, number: u32) -> Call {
        self.0.calls.borrow_mut()[number as usize].take().expect("a call in flight")
    }

    pub fn set_call_response(&self, response: Option<CallResponse>) {
        *self.0.call_response.borrow_mut() = response;
    }

    /// Has a foreign function, which returns this.
    pub fn add_function(&self, name: &str, result: &[u8]) {
        self.0.functions.borrow_mut().insert(name.to_owned(), result.to_vec());
    }

    pub fn tick_period(&self, root: u32) -> Duration {
        self.0.tick_periods.borrow().get(&root).copied().unwrap_or_default()
    }

    /// How often the log level was read.
    pub fn levels_read(&self) -> usize {
        self.0.levels_read.get()
    }

    /// How often a timer was set.
    pub fn timers_set(&self) -> usize {
        self.0.timers_set.get()
    }

    /// The root contexts that were released.
    pub fn released(&self) -> Vec<u32> {
        self.0.released.borrow().clone()
    }

    /// The value of a metric by the end of its name; `None` if it is not defined.
    pub fn metric(&self, end: &str) -> Option<i64> {
        let metrics = self.0.metrics.borrow();
        metrics.iter().find(|(name, _)| name.ends_with(end)).map(|(_, value)| *value)
    }

    /// Fails where the call is refused.
    fn check(&self, call: HostCall, name: &str) -> Result<(), HostError> {
        let refused = self.0.refused.borrow();
        let is_refused = |(refused, of): &(HostCall, Option<String>)| {
            *refused == call && of.as_ref().is_none_or(|of| of == name)
        };
        if refused.iter().any(is_refused) { Err(HostError { call, status: 10 }) } else { Ok(()) }
    }

    /// Does something with a header map of the effective context, if that has it.
    fn with_map<T>(
        &self,
        call: HostCall,
        map: Map,
        act: impl FnOnce(&mut Headers) -> T,
    ) -> Result<T, HostError> {
        let missing = HostError { call, status: BAD_ARGUMENT };
        if map == Map::CallResponseHeaders {
            let response = self.0.call_response.borrow();
            let (headers, _) = response.as_ref().ok_or(missing)?;
            let bytes = |(name, value): &(String, String)| {
                (name.clone().into_bytes(), value.clone().into_bytes())
            };
            return Ok(act(&mut headers.iter().map(bytes).collect()));
        }
        let mut streams = self.0.streams.borrow_mut();
        let stream = streams.get_mut(&self.0.effective.get()).ok_or(missing)?;
        Ok(act(match map {
            Map::RequestHeaders => &mut stream.headers,
            Map::RequestTrailers => stream.trailers.as_mut().ok_or(missing)?,
            _ => &mut stream.response,
        }))
    }

    fn effective_stream(&self, call: HostCall) -> Result<RefMut<'_, Stream>, HostError> {
        let effective = self.0.effective.get();
        let exists = self.0.streams.borrow().contains_key(&effective);
        exists.then(|| self.stream(effective)).ok_or(HostError { call, status: BAD_ARGUMENT })
    }
}

impl Metrics for Proxy {
    fn now(&self) -> Result<Timestamp, HostError> {
        self.check(HostCall::Now, "")?;
        Ok(Timestamp::from_millis(self.0.now.get()))
    }

    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError> {
        self.check(HostCall::RecordMetric, "")?;
        self.0.metrics.borrow_mut()[number as usize].1 = value.try_into().unwrap();
        Ok(())
    }

    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError> {
        self.check(HostCall::IncrementMetric, "")?;
        self.0.metrics.borrow_mut()[number as usize].1 += by;
        Ok(())
    }
}

impl Host for Proxy {
    fn header(&self, map: Map, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        self.check(HostCall::Header, name)?;
        self.with_map(HostCall::Header, map, |headers| {
            let header = headers.iter().find(|(n, _)| n == name.as_bytes());
            header.map(|(_, value)| Cow::Owned(value.clone()))
        })
    }

    fn headers(&self, map: Map) -> Result<Fields, HostError> {
        self.check(HostCall::Headers, "")?;
        self.with_map(HostCall::Headers, map, |headers| headers.iter().cloned().collect())
    }

    fn set_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        self.check(HostCall::SetHeader, name)?;
        self.with_map(HostCall::SetHeader, map, |headers| {
            headers.retain(|(n, _)| n != name.as_bytes());
            headers.push((name.into(), value.into()));
        })
    }

    fn add_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        self.check(HostCall::AddHeader, name)?;
        self.with_map(HostCall::AddHeader, map, |headers| headers.push((name.into(), value.into())))
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        self.check(HostCall::RemoveHeader, &String::from_utf8_lossy(name))?;
        self.with_map(HostCall::RemoveHeader, map, |headers| headers.retain(|(n, _)| n != name))
    }

    fn property(&self, path: &[&str]) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        self.check(HostCall::Property, path.last().expect("a path"))?;
        let stream = self.effective_stream(HostCall::Property)?;
        Ok(match path {
            ["connection", "sha256_peer_certificate_digest"] => {
                stream.certificate.clone().map(|digest| digest.into_bytes().into())
            }
            ["response", "code_details"] => stream.details.map(|details| details.as_bytes().into()),
            ["metadata"] => {
                self.0.metadata_read.set(self.0.metadata_read.get() + 1);
                Some(stream.metadata.clone().into())
            }
            _ => None,
        })
    }

    fn set_filter_state(&self, name: &str, value: &str) -> Result<(), HostError> {
        self.check(HostCall::SetFilterState, name)?;
        let mut stream = self.effective_stream(HostCall::SetFilterState)?;
        stream.state.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn send_local_response(&self, reply: &Reply) -> Result<(), HostError> {
        self.check(HostCall::SendLocalResponse, "")?;
        let mut stream = self.effective_stream(HostCall::SendLocalResponse)?;
        stream.reply.get_or_insert_with(|| reply.clone());
        Ok(())
    }

    fn resume_request(&self) -> Result<(), HostError> {
        self.check(HostCall::ResumeRequest, "")?;
        self.effective_stream(HostCall::ResumeRequest)?.continued = true;
        Ok(())
    }

    fn select_route_again(&self, changed: Changed) -> Result<(), HostError> {
        match changed {
            // The host does so after each edit.
            Changed::Headers => Ok(()),
            // A host without this function keeps the route.
            Changed::FilterState => self.foreign_function("clear_route_cache", &[]).map(|_| ()),
        }
    }
}

impl ProxyWasm for Proxy {
    const VERIFY: Verify =
        |algorithm, key, text, signature| VERIFY.get()(algorithm, key, text, signature);

    const SIGN: Sign = |_, _, text| Ok([&[1; 256], text].concat());

    fn adopt_log_level(&self) -> Result<(), HostError> {
        self.0.levels_read.set(self.0.levels_read.get() + 1);
        self.check(HostCall::LogLevel, "")
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError> {
        self.check(HostCall::Random, "")?;
        bytes.fill(7);
        Ok(())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn configuration(&self, size: usize) -> Result<Option<Vec<u8>>, HostError> {
        self.check(HostCall::Buffer, "configuration")?;
        let document = self.0.configuration.borrow().clone();
        assert_eq!(document.len(), size);
        Ok(Some(document))
    }

    fn foreign_function(&self, name: &str, _: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        self.check(HostCall::ForeignFunction, name)?;
        let result = self.0.functions.borrow().get(name).cloned();
        if name == "clear_route_cache" && result.is_some() {
            self.effective_stream(HostCall::ForeignFunction)?.routes_cleared += 1;
        }
        Ok(result)
    }

    fn http_call(&self, call: &Call) -> Result<u32, CallFailure> {
        if let Some(failure) = self.0.call_failure.get() {
            return Err(failure);
        }
        let mut calls = self.0.calls.borrow_mut();
        calls.push(Some(call.clone()));
        Ok(u32::try_from(calls.len()).unwrap() - 1)
    }

    fn call_response_body(&self, size: usize) -> Result<Option<Vec<u8>>, HostError> {
        self.check(HostCall::Buffer, "body")?;
        let response = self.0.call_response.borrow();
        let body = response.as_ref().map(|(_, body)| body[..size].to_vec());
        body.map(Some).ok_or(HostError { call: HostCall::Buffer, status: BAD_ARGUMENT })
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        self.check(HostCall::SetEffectiveContext, &context.to_string())?;
        self.0.effective.set(context);
        Ok(())
    }

    fn set_tick_period(&self, period: Duration) -> Result<(), HostError> {
        self.check(HostCall::SetTickPeriod, "")?;
        self.0.tick_periods.borrow_mut().insert(self.0.effective.get(), period);
        self.0.timers_set.set(self.0.timers_set.get() + 1);
        Ok(())
    }

    fn done(&self) -> Result<(), HostError> {
        self.check(HostCall::Done, "")?;
        self.0.released.borrow_mut().push(self.0.effective.get());
        Ok(())
    }

    fn define_metric(&self, _: MetricKind, name: &str) -> Result<u32, HostError> {
        self.check(HostCall::DefineMetric, name)?;
        let mut metrics = self.0.metrics.borrow_mut();
        assert!(metrics.iter().all(|(other, _)| other != name), "{name} is defined once");
        metrics.push((name.to_owned(), 0));
        Ok(u32::try_from(metrics.len()).unwrap() - 1)
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError> {
        self.check(HostCall::SharedData, key)?;
        Ok(self.0.data.borrow().0.get(key).cloned())
    }

    fn set_shared_data(
        &self,
        key: &str,
        value: &[u8],
        after: Option<u32>,
    ) -> Result<bool, HostError> {
        self.check(HostCall::SetSharedData, key)?;
        let (values, writes) = &mut *self.0.data.borrow_mut();
        let current = values.get(key).map(|(_, written)| *written);
        if after.is_some() && current.is_some() && after != current {
            return Ok(false);
        }
        *writes += 1;
        values.insert(key.to_owned(), (value.to_vec(), *writes));
        Ok(true)
    }
}
