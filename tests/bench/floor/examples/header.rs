//! A WebAssembly filter that reads the Authorization header and looks for a word in it: the least
//! that a filter by the SDK can do about tokens.
#![cfg(target_arch = "wasm32")]

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, MapType};

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Stream));
}}

/// A request.
struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let value = hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, "authorization");
        if value.is_ok_and(|value| value.is_some_and(|value| value.starts_with(b"Bearer "))) {
            return Action::Continue;
        }
        self.send_http_response(401, vec![], None);
        Action::Pause
    }
}
