//! The dynamic metadata of requests.

use crate::exchanges::Request;
use crate::mcp::results;
use crate::protobuf::{entry, members};

/// All dynamic metadata of a request, in protobuf.
pub fn metadata(request: &Request) -> Vec<u8> {
    let Some(results) = results(request) else { return Vec::new() };
    entry("envoy.filters.http.mcp", &members(&results))
}
