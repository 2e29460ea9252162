//! A request that crashes the VM, for tests: only with the feature of this name.

use super::abi::Abi;
use oauth2_filter_driver::{Host, Map};

/// Panics if the request has `x-panic-on-command`.
pub(super) fn obey() {
    let command = Abi.header(Map::RequestHeaders, "x-panic-on-command");
    assert!(command.ok().flatten().is_none(), "on command");
}
