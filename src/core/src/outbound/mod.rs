//! The outbound direction: the proxy is a client of authorization servers (RFC 6749).
//!
//! A request that a rule gives to a client gets that client's token. While there is a good token, no
//! request waits.
//!
//! In come heads and verdicts of requests that may be forwarded, and tokens; out come verdicts, and lookups
//! of tokens that are not there. Nothing here knows rules for callers, nor how their tokens are checked, nor
//! how tokens are obtained.

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
