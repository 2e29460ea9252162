//! Requests that make hooks panic, for tests: only with the feature of this name.

use std::sync::atomic::{AtomicBool, Ordering};

use oauth2_filter_driver::{Host, Map};

use super::request::Request;

/// Whether the main thread panics next.
static MAIN_THREAD: AtomicBool = AtomicBool::new(false);

/// Panics if the request has `x-panic-on-command` with the name of this hook.
pub(crate) fn obey(request: Request<'_>, hook: &str) {
    let command = request.header(Map::RequestHeaders, "x-panic-on-command").ok().flatten();
    let Some(command) = command else { return };
    if hook == "request_headers" && *command == *b"main_thread" {
        MAIN_THREAD.store(true, Ordering::Relaxed);
    }
    assert!(*command != *hook.as_bytes(), "on command");
}

/// Panics if a request has told the main thread to.
pub(crate) fn obey_on_main_thread() {
    assert!(!MAIN_THREAD.swap(false, Ordering::Relaxed), "on command");
}
