//! The hostcalls that the SDK does not give, or gives in a form that panics: the one place
//! with unsafe blocks.
//!
//! | what | why not the SDK's |
//! | --- | --- |
//! | `proxy_http_call` | it remembers each call, to find the owner of its answer among its own contexts, of which there are none |
//! | `proxy_send_local_response` | it passes no response code details, and no gRPC status |
//! | `proxy_get_header_map_value`, `_pairs` | it panics on text that is not UTF-8, and on a status that a call without an answer gives |
//! | `proxy_get_property`, `proxy_set_property`, `proxy_replace_…`, `proxy_remove_header_map_value`, `proxy_continue_stream`, `proxy_set_effective_context`, `proxy_done`, `proxy_get_buffer_bytes`, `proxy_call_foreign_function` | it panics on statuses that a dying stream can give |
//!
//! A panic takes down every request of the worker; here all statuses but `Ok` become [`Refused`].
#![allow(unsafe_code)]

use std::ptr::null_mut;

use proxy_wasm::types::{BufferType, MapType};

use crate::call::{Call, CallFailure};
use crate::head::Fields;
use crate::timestamp::Timestamp;

/// The host did not do it.
#[derive(Debug)]
pub(super) struct Refused;

/// `StreamType` of the ABI: the request's direction.
const HTTP_REQUEST: u32 = 0;

/// `Status` of the ABI.
const BAD_ARGUMENT: u32 = 2;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
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
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
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
}

/// A status as a result.
fn check(status: u32) -> Result<(), Refused> {
    if status == 0 { Ok(()) } else { Err(Refused) }
}

/// Bytes that the host hands over: it has them allocated here, by `proxy_on_memory_allocate`.
fn bytes(get: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut data: *mut u8 = null_mut();
    let mut size: usize = 0;
    check(get(&raw mut data, &raw mut size)).ok()?;
    if data.is_null() {
        return None;
    }
    #[expect(clippy::same_length_and_capacity, reason = "a boxed slice has no room to spare")]
    // SAFETY: the SDK's `proxy_on_memory_allocate` made it from a boxed slice of `size` bytes by the
    // global allocator and gave it up; the host has filled it, and nobody else knows it.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// One value of a header map. Of a header that stands twice, the first; Envoy joins those of
/// `authorization` and other well-known ones before.
fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    bytes(|value, size| {
        // SAFETY: the pointers are to live memory of the given sizes during the call.
        unsafe { proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), value, size) }
    })
}

/// A header of the request.
pub(super) fn request_header(name: &str) -> Option<Vec<u8>> {
    header(MapType::HttpRequestHeaders, name)
}

/// A header of a call's answer.
pub(super) fn call_response_header(name: &str) -> Option<Vec<u8>> {
    header(MapType::HttpCallResponseHeaders, name)
}

/// All headers of the request; none if there is no request any more.
pub(super) fn request_headers() -> Fields {
    let pairs = bytes(|pairs, size| {
        // SAFETY: the pointers are to live memory during the call.
        unsafe { proxy_get_header_map_pairs(MapType::HttpRequestHeaders as u32, pairs, size) }
    });
    pairs.and_then(Fields::parse).unwrap_or_default()
}

/// A header of the response.
pub(super) fn response_header(name: &str) -> Option<Vec<u8>> {
    header(MapType::HttpResponseHeaders, name)
}

/// A property of the request or its connection.
pub(super) fn property(object: &str, name: &str) -> Option<Vec<u8>> {
    let path = [object, name].join("\0");
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    bytes(|value, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) })
}

/// Gives the request filter state, under `wasm.` and this name.
pub(super) fn set_filter_state(name: &str, value: &str) -> Result<(), Refused> {
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Calls a function that this host has and others may not; `None` if it has not.
pub(super) fn foreign_function(name: &str, arguments: &[u8]) -> Option<Vec<u8>> {
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    bytes(|results, size| unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            results,
            size,
        )
    })
}

/// Has the host choose the request's route anew, by what filter state it has now. A host that
/// cannot keeps to the route that it has.
pub(super) fn clear_route_cache() {
    let _ = foreign_function("clear_route_cache", &[]);
}

/// Sets a header of the request, in place of all values that it had.
pub(super) fn set_request_header(name: &str, value: &str) -> Result<(), Refused> {
    set_header(MapType::HttpRequestHeaders, name, value)
}

/// Sets a header of the response, in place of all values that it had.
pub(super) fn set_response_header(name: &str, value: &str) -> Result<(), Refused> {
    set_header(MapType::HttpResponseHeaders, name, value)
}

/// Sets a header, in place of all values that it had.
fn set_header(map: MapType, name: &str, value: &str) -> Result<(), Refused> {
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    check(unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Takes every value of a header out of the request.
pub(super) fn remove_request_header(name: &str) -> Result<(), Refused> {
    // SAFETY: the pointer is to live memory of the given size during the call.
    check(unsafe {
        proxy_remove_header_map_value(MapType::HttpRequestHeaders as u32, name.as_ptr(), name.len())
    })
}

/// A buffer's first `size` bytes.
fn buffer(buffer: BufferType, size: usize) -> Option<Vec<u8>> {
    // SAFETY: the pointers are to live memory during the call.
    bytes(|data, got| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, size, data, got) })
}

/// The configuration, while it is being handed over.
pub(super) fn plugin_configuration(size: usize) -> Option<Vec<u8>> {
    buffer(BufferType::PluginConfiguration, size)
}

/// The body of a call's answer, while it is being handed over.
pub(super) fn call_response_body(size: usize) -> Option<Vec<u8>> {
    buffer(BufferType::HttpCallResponseBody, size)
}

/// Answers the effective context's request. The host sends what it is given: names and values
/// must hold no line breaks.
pub(super) fn send_local_response(
    status: u16,
    details: &str,
    headers: &[(&str, &str)],
    body: &str,
    grpc_status: u8,
) -> Result<(), Refused> {
    let headers = serialize_pairs(headers).ok_or(Refused)?;
    // SAFETY: the pointers are to live memory of the given sizes during the call.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            i32::from(grpc_status),
        )
    })
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

/// Sends a request to a cluster: the number under which its answer comes to the root context.
pub(super) fn http_call(call: &Call) -> Result<u32, CallFailure> {
    let headers: Vec<(&str, &str)> = call.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let headers = serialize_pairs(&headers).ok_or(CallFailure::NotSent)?;
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
        0 => Ok(number),
        BAD_ARGUMENT => Err(CallFailure::UnknownCluster),
        _ => Err(CallFailure::NotSent),
    }
}

/// Lets go of the effective context, a root that was to end and could not yet.
pub(super) fn done() -> Result<(), Refused> {
    // SAFETY: no memory is involved.
    check(unsafe { proxy_done() })
}

/// The host's clock.
pub(super) fn now() -> Timestamp {
    let mut nanoseconds = 0;
    // SAFETY: the pointer is to live memory during the call. A host without a clock leaves zero.
    let _ = unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) };
    Timestamp::from_millis(nanoseconds / 1_000_000)
}

/// Lets the effective context's request go on.
pub(super) fn resume_request() -> Result<(), Refused> {
    // SAFETY: no memory is involved.
    check(unsafe { proxy_continue_stream(HTTP_REQUEST) })
}

/// Makes a context the one that hostcalls are about, until the callback ends.
pub(super) fn set_effective_context(context: u32) -> Result<(), Refused> {
    // SAFETY: no memory is involved.
    check(unsafe { proxy_set_effective_context(context) })
}
