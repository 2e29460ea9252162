//! The driver in a simulated proxy that can refuse each call: what it does with streams, calls and
//! timers, and that nothing is forwarded where the proxy does not do its part.

// Parts of documents read best when they are given as values.
#![allow(clippy::needless_pass_by_value)]

#[path = "../exchanges/call.rs"]
mod call;
mod calls;
mod claims;
#[path = "../exchanges/mod.rs"]
mod exchanges;
mod jwt;
mod log_level;
#[path = "../exchanges/mcp.rs"]
mod mcp;
mod metadata;
mod missing;
#[path = "../exchanges/protobuf.rs"]
mod protobuf;
mod proxy;
mod refused;
mod set_up;
#[path = "../../src/hosts/dynamic-module/src/verify.rs"]
#[allow(clippy::unnecessary_wraps, reason = "other hosts fail")]
mod signatures;
mod signing;
mod streams;
mod table;
mod trailers;
mod verifying;
mod words;
