//! The functions that Envoy calls. None of them lets a panic through, which would end the proxy.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use super::abi::{Buffer, Envoy, Header, list};
use super::callers::Caller;
use super::envoy::{self, NewConfig, Response};
use super::filter::{FilterConfig, PROCESS};
use super::logger;
use super::main_thread::{Work, handle};
use super::request::Request;
use super::stream::HttpStream;

/// The version of the ABI. Older Envoys log that they do not know it, and load the module.
const VERSION: &CStr = c"v0.2.0";

/// The status of a hook after which Envoy continues.
const CONTINUE: i32 = 0;

/// Envoy waits with the headers and everything that follows, and reads no more than it has room for
/// (`StopAllIterationAndWatermark`).
const PAUSE_AT_HEADERS: i32 = 4;

/// Envoy waits with this part of the body (`StopIterationAndWatermark`).
const PAUSE_AT_BODY: i32 = 2;

/// Envoy waits with the trailers (`StopIteration`).
const PAUSE_AT_TRAILERS: i32 = 1;

/// The highest level of the log.
const CRITICAL: i32 = 5;

/// Runs a hook. After a panic, the result is `otherwise`.
fn guard<R>(otherwise: R, hook: impl FnOnce() -> R) -> R {
    panic::catch_unwind(AssertUnwindSafe(hook)).unwrap_or(otherwise)
}

/// Runs the hook of this name. After a panic the request is denied, and the result is `otherwise`.
///
/// # Safety
/// Envoy must have passed both pointers to a hook of a request that runs now.
unsafe fn with_stream<R>(
    filter: Envoy,
    stream: *const HttpStream,
    name: &str,
    otherwise: R,
    hook: impl FnOnce(&HttpStream, Request<'_>) -> R,
) -> R {
    // SAFETY: `on_http_filter_new` has returned this pointer, and `on_http_filter_destroy` has not
    // been called with it yet. It may be before the hook returns, hence the reference.
    let stream = unsafe {
        Rc::increment_strong_count(stream);
        Rc::from_raw(stream)
    };
    // SAFETY: the filter lives during the hook.
    let request = unsafe { Request::new(filter, &stream.config().shared.metrics) };
    let request = stream.request(request);
    let run = || {
        #[cfg(feature = "panic-on-command")]
        super::panic_on_command::obey(request, name);
        hook(&stream, request)
    };
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        guard((), || stream.panicked(request, name == "stream_complete"));
        otherwise
    })
}

/// Runs a hook of a configuration.
///
/// # Safety
/// `on_http_filter_config_new` must have returned this pointer, and the configuration must live.
unsafe fn with_config(filter: *const FilterConfig, hook: impl FnOnce(Arc<FilterConfig>)) {
    // SAFETY: guaranteed by the caller.
    let filter = unsafe {
        Arc::increment_strong_count(filter);
        Arc::from_raw(filter)
    };
    guard((), || hook(filter));
}

/// Defines the functions that Envoy calls.
macro_rules! hooks {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        $(
            $(#[$meta])*
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $type),*) $(-> $result)? $body
        )*
    };
}

hooks! {
    /// The module is loaded.
    fn envoy_dynamic_module_on_program_init() -> *const c_char {
        guard((), || {
            logger::install();
            panic::set_hook(Box::new(|panic| envoy::log(CRITICAL, &panic.to_string())));
        });
        VERSION.as_ptr()
    }

    /// A configuration. Null rejects it.
    fn envoy_dynamic_module_on_http_filter_config_new(
        config: Envoy, name: Buffer, document: Buffer,
    ) -> *const FilterConfig {
        guard(ptr::null(), || {
            // SAFETY: Envoy passes a configuration that it creates, and buffers that live as long
            // as this hook.
            let (config, name, document) =
                unsafe { (NewConfig::new(config), name.bytes(), document.bytes()) };
            FilterConfig::load(name, document, &config).map_or(ptr::null(), Arc::into_raw)
        })
    }

    /// A configuration is destroyed. No stream of it lives.
    fn envoy_dynamic_module_on_http_filter_config_destroy(filter: *const FilterConfig) {
        // SAFETY: this is the reference that was given to Envoy.
        let filter = unsafe { Arc::from_raw(filter) };
        guard((), || filter.destroyed());
    }

    /// An event that was scheduled for the main thread.
    fn envoy_dynamic_module_on_http_filter_config_scheduled(
        _config: Envoy, filter: *const FilterConfig, _event: u64,
    ) {
        // SAFETY: Envoy calls this for configurations that live.
        unsafe {
            with_config(filter, |filter| {
                filter.shared.caller.accepted();
                filter.with_work().into_iter().for_each(|config| handle(Work::Look(config)));
            });
        }
    }

    /// A call has ended: 0 with a response, which may be Envoy's own.
    fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        _config: Envoy, filter: *const FilterConfig, number: u64, result: i32,
        headers: *const Header, headers_count: usize, body: *const Buffer, body_count: usize,
    ) {
        // SAFETY: Envoy calls this for configurations that live, with lists that live as long as
        // this hook.
        unsafe {
            with_config(filter, |filter| {
                let response = Response::new(list(headers, headers_count), list(body, body_count));
                let result = (result == 0).then(|| response.result());
                handle(Work::CallEnded(Arc::clone(&filter.shared.caller), number, result));
            });
        }
    }

    /// A request has arrived. Null closes it.
    fn envoy_dynamic_module_on_http_filter_new(
        filter: *const FilterConfig, _request: Envoy,
    ) -> *const HttpStream {
        // SAFETY: Envoy calls this for configurations that live.
        let filter = unsafe {
            Arc::increment_strong_count(filter);
            Arc::from_raw(filter)
        };
        guard(ptr::null(), || Rc::into_raw(Rc::new(HttpStream::new(filter))))
    }

    /// A request is destroyed.
    fn envoy_dynamic_module_on_http_filter_destroy(stream: *const HttpStream) {
        // SAFETY: this is the reference that was given to Envoy.
        let stream = unsafe { Rc::from_raw(stream) };
        guard((), || stream.ended());
    }

    /// The configuration of the bootstrap extension, which makes the calls of all filters. Null ends
    /// Envoy.
    fn envoy_dynamic_module_on_bootstrap_extension_config_new(
        config: Envoy, _name: Buffer, document: Buffer,
    ) -> *const Caller {
        guard(ptr::null(), || {
            // SAFETY: Envoy passes a configuration that it creates, and a buffer that lives as long
            // as this hook.
            let (config, document) = unsafe { (NewConfig::new(config), document.bytes()) };
            let Some(caller) = Caller::bootstrap(config, document) else { return ptr::null() };
            PROCESS.callers.add(Arc::clone(&caller));
            Arc::into_raw(caller)
        })
    }

    /// The bootstrap extension is destroyed.
    fn envoy_dynamic_module_on_bootstrap_extension_config_destroy(caller: *const Caller) {
        // SAFETY: this is the reference that was given to Envoy.
        let caller = unsafe { Arc::from_raw(caller) };
        guard((), || {
            drop(caller.destroyed());
            PROCESS.reset_calls(&caller);
        });
    }

    /// A call of the bootstrap extension has ended.
    fn envoy_dynamic_module_on_bootstrap_extension_http_callout_done(
        _config: Envoy, caller: *const Caller, number: u64, result: i32,
        headers: *const Header, headers_count: usize, body: *const Buffer, body_count: usize,
    ) {
        // SAFETY: Envoy calls this for a configuration that lives, with lists that live as long as
        // this hook.
        let (caller, response) = unsafe {
            Arc::increment_strong_count(caller);
            let response = Response::new(list(headers, headers_count), list(body, body_count));
            (Arc::from_raw(caller), response)
        };
        guard((), || {
            let result = (result == 0).then(|| response.result());
            handle(Work::CallEnded(caller, number, result));
        });
    }

    /// The extension has no state besides its configuration.
    fn envoy_dynamic_module_on_bootstrap_extension_new(
        caller: *const Caller, _extension: Envoy,
    ) -> *const Caller {
        caller
    }

    /// Envoy ends once `done` is called. A token that is obtained now would be lost.
    fn envoy_dynamic_module_on_bootstrap_extension_shutdown(
        _extension: Envoy, _caller: *const Caller, done: extern "C" fn(*mut c_void),
        context: *mut c_void,
    ) {
        done(context);
    }

    fn envoy_dynamic_module_on_http_filter_request_headers(
        filter: Envoy, stream: *const HttpStream, end_of_stream: bool,
    ) -> i32 {
        // SAFETY: Envoy passes a request that lives.
        let forwarded = unsafe {
            with_stream(filter, stream, "request_headers", false, |stream, request| stream.headers(request, end_of_stream))
        };
        if forwarded { CONTINUE } else { PAUSE_AT_HEADERS }
    }

    fn envoy_dynamic_module_on_http_filter_request_body(
        filter: Envoy, stream: *const HttpStream, _end_of_stream: bool,
    ) -> i32 {
        // SAFETY: Envoy passes a request that lives.
        let forwarded =
            unsafe { with_stream(filter, stream, "request_body", false, HttpStream::body) };
        if forwarded { CONTINUE } else { PAUSE_AT_BODY }
    }

    fn envoy_dynamic_module_on_http_filter_request_trailers(
        filter: Envoy, stream: *const HttpStream,
    ) -> i32 {
        // SAFETY: Envoy passes a request that lives.
        let forwarded = unsafe {
            with_stream(filter, stream, "request_trailers", false, HttpStream::trailers)
        };
        if forwarded { CONTINUE } else { PAUSE_AT_TRAILERS }
    }

    fn envoy_dynamic_module_on_http_filter_response_headers(
        filter: Envoy, stream: *const HttpStream, _end_of_stream: bool,
    ) -> i32 {
        // SAFETY: Envoy passes a request that lives.
        unsafe { with_stream(filter, stream, "response_headers", (), HttpStream::response) }
        CONTINUE
    }

    /// An event that another thread has scheduled for a request.
    fn envoy_dynamic_module_on_http_filter_scheduled(
        filter: Envoy, stream: *const HttpStream, _event: u64,
    ) {
        // SAFETY: Envoy passes a request that lives.
        unsafe { with_stream(filter, stream, "scheduled", (), HttpStream::scheduled) }
    }

    /// A request has ended, and is destroyed next.
    fn envoy_dynamic_module_on_http_filter_stream_complete(
        filter: Envoy, stream: *const HttpStream,
    ) {
        // SAFETY: Envoy passes a request that lives.
        unsafe { with_stream(filter, stream, "stream_complete", (), |stream, _| stream.ended()) }
    }

    fn envoy_dynamic_module_on_http_filter_response_body(
        _filter: Envoy, _stream: *const HttpStream, _end_of_stream: bool,
    ) -> i32 {
        CONTINUE
    }

    fn envoy_dynamic_module_on_http_filter_response_trailers(
        _filter: Envoy, _stream: *const HttpStream,
    ) -> i32 {
        CONTINUE
    }

    /// A document for a route. Null rejects it.
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: Buffer, document: Buffer,
    ) -> *const c_void {
        guard(ptr::null(), || {
            // SAFETY: Envoy passes buffers that live as long as this hook.
            let (name, document) = unsafe { (name.bytes(), document.bytes()) };
            let address = PROCESS.load_document(name, document);
            address.map_or(ptr::null(), |address| ptr::without_provenance(address.get()))
        })
    }

    /// A document for a route is destroyed, in any thread.
    fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: *const c_void) {
        guard((), || {
            if let Some(address) = NonZeroUsize::new(route.addr()) {
                PROCESS.document_destroyed(address);
            }
        });
    }

    // Envoy requires the functions that follow, but calls none of them: this module makes no calls
    // and opens no streams of requests, and asks for no notices of watermarks.
    fn envoy_dynamic_module_on_http_filter_http_callout_done(
        _filter: Envoy, _stream: *const HttpStream, _number: u64, _result: i32,
        _headers: *const Header, _headers_count: usize, _body: *const Buffer, _body_count: usize,
    ) {}

    fn envoy_dynamic_module_on_http_filter_http_stream_headers(
        _filter: Envoy, _stream: *const HttpStream, _number: u64, _headers: *const Header,
        _count: usize, _end_of_stream: bool,
    ) {}

    fn envoy_dynamic_module_on_http_filter_http_stream_data(
        _filter: Envoy, _stream: *const HttpStream, _number: u64, _data: *const Buffer,
        _count: usize, _end_of_stream: bool,
    ) {}

    fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
        _filter: Envoy, _stream: *const HttpStream, _number: u64, _trailers: *const Header,
        _count: usize,
    ) {}

    fn envoy_dynamic_module_on_http_filter_http_stream_complete(
        _filter: Envoy, _stream: *const HttpStream, _number: u64,
    ) {}

    fn envoy_dynamic_module_on_http_filter_http_stream_reset(
        _filter: Envoy, _stream: *const HttpStream, _number: u64, _reason: i32,
    ) {}

    fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
        _filter: Envoy, _stream: *const HttpStream,
    ) {}

    fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
        _filter: Envoy, _stream: *const HttpStream,
    ) {}

    // Envoy requires these of a bootstrap extension.
    fn envoy_dynamic_module_on_bootstrap_extension_destroy(_caller: *const Caller) {}

    fn envoy_dynamic_module_on_bootstrap_extension_server_initialized(
        _extension: Envoy, _caller: *const Caller,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_worker_thread_initialized(
        _extension: Envoy, _caller: *const Caller,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_drain_started(
        _extension: Envoy, _caller: *const Caller,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_config_scheduled(
        _config: Envoy, _caller: *const Caller, _event: u64,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_timer_fired(
        _config: Envoy, _caller: *const Caller, _timer: Envoy,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_file_changed(
        _config: Envoy, _caller: *const Caller, _path: Buffer, _events: u32,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_admin_request(
        _config: Envoy, _caller: *const Caller, _method: Buffer, _path: Buffer, _body: Buffer,
    ) -> u32 {
        404
    }

    fn envoy_dynamic_module_on_bootstrap_extension_cluster_add_or_update(
        _config: Envoy, _caller: *const Caller, _name: Buffer,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_cluster_removal(
        _config: Envoy, _caller: *const Caller, _name: Buffer,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_listener_add_or_update(
        _config: Envoy, _caller: *const Caller, _name: Buffer,
    ) {}

    fn envoy_dynamic_module_on_bootstrap_extension_listener_removal(
        _config: Envoy, _caller: *const Caller, _name: Buffer,
    ) {}
}
