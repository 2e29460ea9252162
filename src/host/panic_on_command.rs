//! A request that kills the VM, for tests: only with the feature of this name.
#![allow(clippy::panic, reason = "that is what it is for")]

use super::abi;

/// Panics if the request has `x-panic-on-command`.
pub(super) fn obey() {
    if abi::request_header("x-panic-on-command").is_some() {
        panic!("on command");
    }
}
