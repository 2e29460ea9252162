//! The recipes whose files need more than `make servers`: secrets that change, a proxy on the way,
//! servers that execute what they receive.

mod client_secret;
mod forward_proxy;
mod jwt_and_opaque;
mod local_replies;
mod mcp_reading;
mod mcp_servers;
mod mcp_tools;
mod mount;
mod phantom_tokens;
mod verify_and_introspect;
mod workload_identity;
#[path = "../../istio/yaml.rs"]
mod yaml;

use std::net::SocketAddr;

/// How the examples write a port.
fn port(address: SocketAddr) -> String {
    format!("port_value: {} ", address.port())
}
