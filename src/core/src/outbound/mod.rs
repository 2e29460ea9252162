//! The outbound direction: the proxy is a client of authorization servers (RFC 6749).
//!
//! A request that a rule gives to a client gets that client's token. While a good token is held,
//! nothing waits and nothing is asked; it is renewed ahead of its end by one worker. Without one,
//! requests wait for one call, whichever worker makes it.
//!
//! In come heads and verdicts of requests that may be forwarded, and the outcomes of token requests; out
//! come verdicts, calls and events. Nothing here knows rules for callers, nor how their tokens are checked.

pub(crate) mod cached_token;
pub(crate) mod client;
pub(crate) mod client_token;
pub(crate) mod exchange;
mod flight;
mod inject;
mod injection;
mod obtain;
mod outcome;
mod plan;
mod rejection;
mod state;
mod upkeep;

pub(crate) use injection::Injection;
pub(crate) use state::{ClientConfig, Outbound};
