//! The functions of a proxy-wasm host: the only place with unsafe blocks.
//!
//! The SDK's wrappers panic on every unexpected status, on text that is not UTF-8, and on what an
//! ending stream can cause; they support neither response code details nor the gRPC status; and
//! they track calls to find their context, which is not needed here. A panic terminates every
//! request of the worker. So the functions are called directly, and every status other than `Ok` is
//! a value: `None` if something does not exist, otherwise a [`HostError`].
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ptr::null_mut;
use std::time::Duration;

use proxy_wasm::types::BufferType;

use super::{sign, verify};
use oauth2_filter_core::{
    Algorithm, Call, CallFailure, Fields, Reply, Sign, SignError, Timestamp, Verify,
};
use oauth2_filter_driver::{
    Changed, Host, HostCall, HostError, Map, MetricKind, Metrics, ProxyWasm,
};

/// `StreamType` of the ABI: the request's direction.
const HTTP_REQUEST: u32 = 0;

/// `Status` of the ABI.
const OK: u32 = 0;

/// `Status` of the ABI.
const NOT_FOUND: u32 = 1;

/// `Status` of the ABI.
const BAD_ARGUMENT: u32 = 2;

/// `Status` of the ABI.
const PARSE_FAILURE: u32 = 4;

/// `Status` of the ABI.
const CAS_MISMATCH: u32 = 8;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        most: usize,
        bytes: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        number: *mut u32,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_continue_stream(stream_type: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_done() -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, number: *mut u32) -> u32;
    fn proxy_record_metric(number: u32, value: u64) -> u32;
    fn proxy_increment_metric(number: u32, by: i64) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        written: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        after: u32,
    ) -> u32;
}

/// The host of this VM.
#[derive(Clone, Copy)]
pub(super) struct Abi;

/// A status as a result.
fn check(call: HostCall, status: u32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(error(call, status)) }
}

/// A function of the host that gives a header a value.
type ChangeHeader = unsafe extern "C" fn(u32, *const u8, usize, *const u8, usize) -> u32;

/// Gives a header a value.
fn change_header(
    call: HostCall,
    change: ChangeHeader,
    map: Map,
    name: &str,
    value: &str,
) -> Result<(), HostError> {
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    check(call, unsafe {
        change(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// An error of this status.
fn error(call: HostCall, status: u32) -> HostError {
    HostError { call, status: status.try_into().unwrap_or(u8::MAX) }
}

/// Bytes returned by the host, which allocates them with `proxy_on_memory_allocate`, unless there
/// are none.
fn bytes(
    call: HostCall,
    get: impl FnOnce(*mut *mut u8, *mut usize) -> u32,
) -> Result<Option<Vec<u8>>, HostError> {
    let mut data: *mut u8 = null_mut();
    let mut size: usize = 0;
    match get(&raw mut data, &raw mut size) {
        NOT_FOUND => Ok(None),
        status => {
            check(call, status)?;
            if data.is_null() {
                return Ok(Some(Vec::new()));
            }
            #[expect(clippy::same_length_and_capacity, reason = "a boxed slice has no spare room")]
            // SAFETY: the SDK's `proxy_on_memory_allocate` made it from a boxed slice of `size`
            // bytes by the global allocator and released it; the host has filled it, and nobody
            // else has it.
            Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) }))
        }
    }
}

/// The first `size` bytes of a buffer.
fn buffer(buffer: BufferType, size: usize) -> Result<Option<Vec<u8>>, HostError> {
    bytes(HostCall::Buffer, |data, got| {
        // SAFETY: the pointers are to live memory during the call.
        unsafe { proxy_get_buffer_bytes(buffer as u32, 0, size, data, got) }
    })
}

/// Writes a line to the log of the host, which may refuse it.
pub(super) fn log(level: u32, text: &str) {
    // SAFETY: the pointer is to live memory of the given size during the call.
    let _ = unsafe { proxy_log(level, text.as_ptr(), text.len()) };
}

/// The ABI's form of a header map, as [`Fields::parse`] reads it.
fn serialize_pairs(pairs: &[(&str, &str)]) -> Option<Vec<u8>> {
    let word = |n: usize| u32::try_from(n).ok().map(u32::to_le_bytes);
    let mut bytes = word(pairs.len())?.to_vec();
    for (name, value) in pairs {
        bytes.extend(word(name.len())?);
        bytes.extend(word(value.len())?);
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    Some(bytes)
}

/// The level of a number of the ABI.
fn log_level(number: u32) -> ::log::LevelFilter {
    match number {
        0 => ::log::LevelFilter::Trace,
        1 => ::log::LevelFilter::Debug,
        2 => ::log::LevelFilter::Info,
        3 => ::log::LevelFilter::Warn,
        4 => ::log::LevelFilter::Error,
        _ => ::log::LevelFilter::Off,
    }
}

impl Metrics for Abi {
    fn now(&self) -> Result<Timestamp, HostError> {
        let mut time = 0;
        // SAFETY: the pointer is to live memory during the call.
        let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut time) };
        check(HostCall::Now, status)?;
        Ok(Timestamp::from_millis(time / 1_000_000))
    }

    fn record_metric(&self, number: u32, value: u64) -> Result<(), HostError> {
        // SAFETY: no memory is involved.
        check(HostCall::RecordMetric, unsafe { proxy_record_metric(number, value) })
    }

    fn increment_metric(&self, number: u32, by: i64) -> Result<(), HostError> {
        // SAFETY: no memory is involved.
        check(HostCall::IncrementMetric, unsafe { proxy_increment_metric(number, by) })
    }
}

impl Host for Abi {
    fn header(&self, map: Map, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        let value = bytes(HostCall::Header, |value, size| {
            // SAFETY: the pointers are to live memory of the given sizes during the call.
            unsafe {
                proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), value, size)
            }
        });
        Ok(value?.map(Cow::Owned))
    }

    fn headers(&self, map: Map) -> Result<Fields, HostError> {
        let call = HostCall::Headers;
        let pairs = bytes(call, |pairs, size| {
            // SAFETY: the pointers are to live memory during the call.
            unsafe { proxy_get_header_map_pairs(map as u32, pairs, size) }
        });
        let pairs = pairs?.ok_or_else(|| error(call, NOT_FOUND))?;
        Fields::parse(pairs).ok_or_else(|| error(call, PARSE_FAILURE))
    }

    fn set_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        change_header(HostCall::SetHeader, proxy_replace_header_map_value, map, name, value)
    }

    fn add_header(&self, map: Map, name: &str, value: &str) -> Result<(), HostError> {
        change_header(HostCall::AddHeader, proxy_add_header_map_value, map, name, value)
    }

    fn remove_header(&self, map: Map, name: &[u8]) -> Result<(), HostError> {
        // SAFETY: the pointer is to live memory of the given size during the call.
        check(HostCall::RemoveHeader, unsafe {
            proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len())
        })
    }

    fn property(&self, path: &[&str]) -> Result<Option<Cow<'_, [u8]>>, HostError> {
        let path = path.join("\0");
        let value = bytes(HostCall::Property, |value, size| {
            // SAFETY: the pointers are to live memory of the given sizes during the call.
            unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) }
        });
        Ok(value?.map(Cow::Owned))
    }

    fn set_filter_state(&self, name: &str, value: &str) -> Result<(), HostError> {
        // SAFETY: the pointers are to live memory of the given sizes during the call.
        check(HostCall::SetFilterState, unsafe {
            proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn send_local_response(&self, reply: &Reply) -> Result<(), HostError> {
        let call = HostCall::SendLocalResponse;
        let headers = reply.headers.iter().map(|(name, value)| (*name, &**value));
        let headers = serialize_pairs(&headers.collect::<Vec<_>>());
        let headers = headers.ok_or_else(|| error(call, BAD_ARGUMENT))?;
        // SAFETY: the pointers are to live memory of the given sizes during the call.
        check(call, unsafe {
            proxy_send_local_response(
                u32::from(reply.status),
                reply.details.as_ptr(),
                reply.details.len(),
                reply.body.as_ptr(),
                reply.body.len(),
                headers.as_ptr(),
                headers.len(),
                i32::from(reply.grpc_status),
            )
        })
    }

    fn resume_request(&self) -> Result<(), HostError> {
        // SAFETY: no memory is involved.
        check(HostCall::ResumeRequest, unsafe { proxy_continue_stream(HTTP_REQUEST) })
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

impl ProxyWasm for Abi {
    const SIGN: Sign = |algorithm, private_key, text| match algorithm {
        // The function chooses by the key.
        Algorithm::Rs256 | Algorithm::Es256 => sign(&Self, private_key, text),
        Algorithm::Ps256 | Algorithm::EdDsa => Err(SignError::Unsupported),
    };

    const VERIFY: Verify =
        |algorithm, key, text, signature| verify(&Self, algorithm, key, text, signature);

    fn adopt_log_level(&self) -> Result<(), HostError> {
        let mut level = 0;
        // SAFETY: the pointer is to live memory during the call.
        check(HostCall::LogLevel, unsafe { proxy_get_log_level(&raw mut level) })?;
        ::log::set_max_level(log_level(level));
        Ok(())
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), HostError> {
        getrandom::fill(bytes).map_err(|failure| {
            let status = failure.raw_os_error().and_then(|code| code.try_into().ok());
            error(HostCall::Random, status.unwrap_or_default())
        })
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn configuration(&self, size: usize) -> Result<Option<Vec<u8>>, HostError> {
        buffer(BufferType::PluginConfiguration, size)
    }

    fn foreign_function(&self, name: &str, arguments: &[u8]) -> Result<Option<Vec<u8>>, HostError> {
        bytes(HostCall::ForeignFunction, |results, size| {
            // SAFETY: the pointers are to live memory of the given sizes during the call.
            unsafe {
                proxy_call_foreign_function(
                    name.as_ptr(),
                    name.len(),
                    arguments.as_ptr(),
                    arguments.len(),
                    results,
                    size,
                )
            }
        })
    }

    fn http_call(&self, call: &Call) -> Result<u32, CallFailure> {
        let headers = call.headers.iter().map(|(name, value)| (&**name, &**value));
        let headers = serialize_pairs(&headers.collect::<Vec<_>>()).ok_or(CallFailure::NotSent)?;
        let trailers = [0; 4];
        let timeout = u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX);
        let mut number = 0;
        // SAFETY: the pointers are to live memory of the given sizes during the call.
        let status = unsafe {
            proxy_http_call(
                call.cluster.as_ptr(),
                call.cluster.len(),
                headers.as_ptr(),
                headers.len(),
                call.body.as_ptr(),
                call.body.len(),
                trailers.as_ptr(),
                trailers.len(),
                timeout,
                &raw mut number,
            )
        };
        match status {
            OK => Ok(number),
            BAD_ARGUMENT => Err(CallFailure::UnknownCluster),
            _ => Err(CallFailure::NotSent),
        }
    }

    fn call_response_body(&self, size: usize) -> Result<Option<Vec<u8>>, HostError> {
        buffer(BufferType::HttpCallResponseBody, size)
    }

    fn set_effective_context(&self, context: u32) -> Result<(), HostError> {
        // SAFETY: no memory is involved.
        check(HostCall::SetEffectiveContext, unsafe { proxy_set_effective_context(context) })
    }

    fn set_tick_period(&self, period: Duration) -> Result<(), HostError> {
        let period = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: no memory is involved.
        check(HostCall::SetTickPeriod, unsafe { proxy_set_tick_period_milliseconds(period) })
    }

    fn done(&self) -> Result<(), HostError> {
        // SAFETY: no memory is involved.
        check(HostCall::Done, unsafe { proxy_done() })
    }

    fn define_metric(&self, kind: MetricKind, name: &str) -> Result<u32, HostError> {
        let mut number = 0;
        // SAFETY: the pointers are to live memory of the given size during the call.
        let status =
            unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut number) };
        check(HostCall::DefineMetric, status)?;
        Ok(number)
    }

    fn shared_data(&self, key: &str) -> Result<Option<(Vec<u8>, u32)>, HostError> {
        let mut written = 0;
        let value = bytes(HostCall::SharedData, |value, size| {
            // SAFETY: the pointers are to live memory of the given sizes during the call.
            unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &raw mut written) }
        });
        // No write has the number zero.
        Ok(value?.filter(|_| written != 0).map(|value| (value, written)))
    }

    fn set_shared_data(
        &self,
        key: &str,
        value: &[u8],
        after: Option<u32>,
    ) -> Result<bool, HostError> {
        // SAFETY: the pointers are to live memory of the given sizes during the call.
        let status = unsafe {
            proxy_set_shared_data(
                key.as_ptr(),
                key.len(),
                value.as_ptr(),
                value.len(),
                after.unwrap_or_default(),
            )
        };
        match status {
            CAS_MISMATCH => Ok(false),
            status => check(HostCall::SetSharedData, status).map(|()| true),
        }
    }
}
