//! The core of oauth2-filter: decides on requests by OAuth 2.0.
//!
//! It has no host: whatever happens is an [`Input`], and what is to be done is in the [`Step`] that
//! [`Filter::handle`] returns and in an [`Output`] that the host keeps. A driver runs it in a proxy.
//!
//! ```text
//!   a request's head ──▶ Filter::handle ──▶ Step::Decided(Verdict) ─▶ forwarded, or answered
//!                              │
//!                              └──────────▶ Step::Waiting, and Output::calls ─▶ authorization server
//!                                                                                    │
//!   all that wait ◀── Output::decided ◀── Filter::handle ◀────── Answer or CallFailure
//! ```
//!
//! A request without a token, which is answered at once:
//!
//! ```
//! use std::borrow::Cow;
//!
//! use oauth2_filter_core::{
//!     Action, Context, Environment, Fields, Filter, Head, Input, Output, SharedData, SignError, Step,
//!     StreamId, Timestamp,
//! };
//!
//! /// `GET /`, without any other header.
//! struct Get(Fields);
//!
//! impl Head for Get {
//!     fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
//!         let value: &[u8] = match name {
//!             ":method" => b"GET",
//!             ":path" => b"/",
//!             _ => return None,
//!         };
//!         Some(value.into())
//!     }
//!     fn fields(&self) -> &Fields {
//!         &self.0
//!     }
//!     fn peer_certificate(&self) -> Option<[u8; 32]> {
//!         None
//!     }
//! }
//!
//! /// Remembers nothing.
//! struct Forgetful;
//!
//! impl SharedData for Forgetful {
//!     fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
//!         None
//!     }
//!     fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> bool {
//!         false
//!     }
//! }
//!
//! let document = br#"{"inbound": {"introspection": {
//!     "endpoint": "https://as.example.com/introspect", "cluster": "as",
//!     "client_id": "orders-api", "client_secret": {"env": "ORDERS_API_SECRET"}
//! }}}"#;
//! let environment = Environment {
//!     variable: &|name| (name == "ORDERS_API_SECRET").then(|| "secret".to_owned()),
//!     seed: [0; 16], // a real host: random bytes
//!     sign: |_, _| Err(SignError::Absent),
//! };
//! let (mut filter, _warnings) = Filter::load(document, &environment)?;
//!
//! let context = Context { now: Timestamp::from_millis(0), data: &Forgetful };
//! let mut output = Output::default();
//! let request = Input::Request(StreamId(1), &Get(Fields::default()));
//! let Step::Decided(verdict) = filter.handle(request, context, &mut output) else {
//!     panic!("only a token is introspected");
//! };
//! let Action::Respond(reply) = verdict.action else { panic!("a token is required") };
//! assert_eq!(reply.status, 401);
//! # Ok::<_, oauth2_filter_core::ConfigErrors>(())
//! ```
//!
//! Out of scope here: sockets, TLS, timeouts and retries (Envoy's), clocks and randomness
//! (arguments).

#![forbid(unsafe_code)]
// Tests may unwrap; the filter may not: a panic takes the whole VM down, with every request in it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]
#![warn(unreachable_pub)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::unreachable))]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod cache;
mod config;
mod decider;
mod defect;
mod environment;
#[cfg(feature = "review")]
mod explain;
mod fetcher;
mod filter;
mod http;
mod ids;
mod inbound;
mod lookup;
mod metrics;
mod oauth;
mod outbound;
mod random;
mod rules;
mod run;
mod store;
mod table;
mod timestamp;
mod verdict;

pub use cache::single_flight::{CallId, StreamId};
pub use config::{ConfigError, ConfigErrors};
#[cfg(feature = "review")]
pub use config::{DefaultValue, KEY_TABLES, KeyRow, KeyTable, Review, review, schema};
pub use environment::Environment;
#[cfg(feature = "review")]
pub use explain::{Explanation, TokenNeeds};
pub use filter::Filter;
pub use http::head::{Fields, Head};
pub use ids::{ClientId, ServerId};
pub use metrics::client::{ClientEvent, ClientGauge, InjectionResult, TokenEvent};
pub use metrics::labels::Labels;
pub use metrics::{CALL_TIME, Counter, Decision, Event, Lookup, TOKEN_CALL_TIME, WAITING};
pub use oauth::call::{Answer, Call, CallFailure, MAX_BODY, Purpose, TokenUse};
pub use oauth::client_assertion::{Sign, SignError};
pub use oauth::denial::Reply;
pub use oauth::outcome::CallOutcome;
pub use oauth::reason::Reason;
pub use oauth::sender_constraint::digest_from_hex;
pub use run::{Context, Input, Output, Step};
pub use store::shared::SharedStore;
pub use store::shared_data::SharedData;
pub use store::{NotWritten, Store};
pub use timestamp::Timestamp;
pub use verdict::{Action, Attributes, Forward, Verdict};
