//! The callbacks of the host, with the names that `src/tools/trim` gives to these functions.
//!
//! The SDK's callbacks store an object for each stream in a table, which every callback searches,
//! and panic on an unknown stream. Here, only the few streams on which something depends have a
//! state.
#![allow(unsafe_code)]

use super::abi::Abi;
use super::logger;
use oauth2_filter_driver::Vm;

/// `Action` of the ABI.
const CONTINUE: u32 = 0;

/// `Action` of the ABI.
const PAUSE: u32 = 1;

thread_local! {
    /// Everything in this VM, which has one thread.
    static VM: Vm<Abi> = const { Vm::new(Abi) };
}

proxy_wasm::main! {{
    logger::install();
}}

/// Whether a request continues.
fn action(continues: bool) -> u32 {
    if continues { CONTINUE } else { PAUSE }
}

/// A root context, or a stream of one.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_context_create(context: u32, root: u32) {
    VM.with(|vm| vm.context_created(context, root));
}

/// A configuration for a root context. Whether it is accepted.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_configure(root: u32, size: usize) -> u32 {
    u32::from(VM.with(|vm| vm.configured(root, size)))
}

/// The tick period has passed.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_tick(root: u32) {
    VM.with(|vm| vm.tick(root));
}

/// A call has ended, with or without a response.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_http_call_response(
    root: u32,
    number: u32,
    headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    VM.with(|vm| vm.call_ended(root, number, headers, body_size));
}

/// The headers of a request.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_headers(stream: u32, _headers: usize, end_of_stream: u32) -> u32 {
    #[cfg(feature = "panic-on-command")]
    super::panic_on_command::obey();
    action(VM.with(|vm| vm.request_headers(stream, end_of_stream != 0)))
}

/// A part of its body.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_body(stream: u32, _size: usize, _end_of_stream: u32) -> u32 {
    action(VM.with(|vm| vm.request_body(stream)))
}

#[unsafe(no_mangle)]
extern "C" fn oauth2_on_request_trailers(stream: u32, _trailers: usize) -> u32 {
    action(VM.with(|vm| vm.request_trailers(stream)))
}

/// The headers of its response.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_response_headers(stream: u32, _headers: usize, _end_of_stream: u32) -> u32 {
    VM.with(|vm| vm.response_headers(stream));
    CONTINUE
}

/// A context ends. Whether it has ended.
#[unsafe(no_mangle)]
extern "C" fn oauth2_on_done(context: u32) -> u32 {
    u32::from(VM.with(|vm| vm.done(context)))
}
