//! A request that kills the VM, for tests: only with the feature of this name.

use super::abi;

/// Panics if the request has `x-panic-on-command`.
pub(super) fn obey() {
    assert!(abi::request_header("x-panic-on-command").is_none(), "on command");
}
