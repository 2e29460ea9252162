//! The dynamic metadata of requests.

use serde_json::Value;

use crate::exchanges::Request;
use crate::mcp::results;
use crate::protobuf::{entry, members};

/// All dynamic metadata of a request, in protobuf.
pub fn metadata(request: &Request) -> Vec<u8> {
    let Some(results) = results(request) else { return Vec::new() };
    entry("envoy.filters.http.mcp", &members(&results))
}

/// All dynamic metadata, of filters with these names.
pub fn of_filters(filters: &[(&str, &Value)]) -> Vec<u8> {
    filters.iter().flat_map(|(name, values)| entry(name, &members(values))).collect()
}
