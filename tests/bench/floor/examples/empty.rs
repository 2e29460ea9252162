//! A WebAssembly filter that does nothing: what the SDK and being called for each request cost.
#![cfg(target_arch = "wasm32")]

use proxy_wasm::traits::{Context, HttpContext};

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Stream));
}}

/// A request.
struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {}
