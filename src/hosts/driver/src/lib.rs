//! Drives the [`Filter`](oauth2_filter_core::Filter) in a host: keeps track of streams and of calls in flight,
//! and does what the filter decides.
//!
//! It makes one decision itself: if the host fails, the request is denied with `oauth2_host_error`,
//! never forwarded. It uses the host through [`Host`] only, contains no unsafe code, and runs
//! natively in tests. It relies on this behaviour of hosts:
//!
//! * A call belongs to the root context, and its end is announced there, even if the request that
//!   needed it has ended.
//! * Resuming a stream or responding to it takes effect after the callback returns, and these
//!   effects nest: a few hundred would overflow the stack, so they are done in batches.
//! * A stream that was reset may still be addressed for a moment. So a stream that ends is removed
//!   from every list at once ([`Vm::done`]).

#![forbid(unsafe_code)]
// A panic terminates the whole VM, with every request in it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]
#![warn(unreachable_pub)]

mod apply;
mod calls;
mod data;
mod head;
mod in_flight;
mod interface;
mod mcp;
mod reports;
mod response;
mod statistics;
mod stream;
mod vm;
mod worker;

pub use apply::Apply;
pub use head::RequestHead;
pub use in_flight::InFlight;
pub use interface::{Changed, Host, HostCall, HostError, Map, MetricKind, Metrics, ProxyWasm};
pub use mcp::{NAMESPACE as MCP_NAMESPACE, Report as McpReport, Value as McpValue};
pub use reports::Reports;
pub use response::{CallResponse, call_result};
pub use statistics::Statistics;
pub use stream::Stream;
pub use vm::Vm;
