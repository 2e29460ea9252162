//! The outbound direction: the proxy is a client of authorization servers (RFC 6749).
//!
//! A request that matches a client's rule gets that client's token. As long as a usable token is
//! cached, no request waits.
//!
//! The input is the heads and verdicts of requests that may be forwarded, and tokens; the output is
//! verdicts, and lookups of tokens that are not cached. This module depends neither on inbound
//! rules, nor on how callers' tokens are checked, nor on how tokens are obtained.

pub(crate) mod client;
pub(crate) mod client_token;
pub(crate) mod exchanged_tokens;
mod inject;
mod injection;
mod plan;
mod rejection;
mod state;

pub(crate) use inject::Progress;
pub(crate) use injection::Injection;
pub(crate) use state::{ClientConfig, Outbound, Waiter, of_client};
