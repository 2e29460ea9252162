//! The core of oauth2-filter: decides on requests by OAuth 2.0.
//!
//! All that decides is here without a host: it takes a request's head, the time and the outcome of
//! calls as arguments, and returns what is to be done as a value. A driver runs it in a proxy.
//!
//! ```text
//!   request ──head──▶ Filter::request ─▶ Step::Decide(Verdict) ─▶ forwarded, or answered
//!                          │
//!                          └───────────▶ Step::Wait(Some(Call)) ─▶ authorization server
//!                                                                        │
//!   all that wait ◀──Verdict each── Filter::answer ◀───────── Answer or CallFailure
//! ```
//!
//! Out of scope here: sockets, TLS, timeouts and retries (Envoy's), clocks and randomness
//! (arguments).

#![forbid(unsafe_code)]
// Tests may unwrap; the filter may not: a panic takes the whole VM down, with every request in it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, clippy::missing_docs_in_private_items, missing_debug_implementations)]
#![warn(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::unreachable))]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]
#![cfg_attr(test, allow(clippy::missing_docs_in_private_items))]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod cache;
mod config;
mod defect;
mod environment;
#[cfg(feature = "review")]
mod explain;
mod filter;
mod http;
mod inbound;
mod metrics;
mod oauth;
mod outbound;
mod random;
mod rules;
mod timestamp;
mod verdict;

pub use cache::shared::SharedData;
pub use cache::single_flight::{CallId, StreamId};
#[cfg(feature = "review")]
pub use config::{DefaultValue, KEY_TABLES, KeyRow, KeyTable, Review, review, schema};
pub use config::{Mistake, Mistakes};
pub use environment::Environment;
#[cfg(feature = "review")]
pub use explain::{Explanation, TokenNeeds};
pub use filter::{Filter, Step, Verdicts};
pub use http::head::{Fields, Head};
pub use metrics::client::{ClientEvent, ClientGauge, Injection, TokenEvent};
pub use metrics::{CALL_TIME, Counter, Decision, Event, Lookup, TOKEN_CALL_TIME, WAITING};
pub use oauth::call::{Answer, Call, CallFailure, MAX_BODY, Sent};
pub use oauth::client_assertion::{Sign, SignError};
pub use oauth::denial::{Reason, Reply};
pub use oauth::outcome::Outcome;
pub use oauth::sender_constraint::digest_from_hex;
pub use timestamp::Timestamp;
pub use verdict::{Attributes, Fate, Forward, Verdict};
