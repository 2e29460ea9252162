//! The core of oauth2-filter: decides on HTTP requests with OAuth 2.0.
//!
//! The core does no I/O: every event is an [`Input`], and the resulting actions are in the [`Step`]
//! that [`Filter::handle`] returns and in the [`Output`] that the host passes in. A driver runs it
//! in a proxy.
//!
//! ```text
//!   a request's head ──▶ Filter::handle ──▶ Step::Decided(Verdict) ─▶ forwarded, or answered
//!                              │
//!                              └──────────▶ Step::Waiting, and Output::calls ─▶ authorization server
//!                                                                                    │
//!   waiting requests ◀── Output::decided ◀── Filter::handle ◀─── Answer or CallFailure
//! ```
//!
//! A request without a token is answered at once:
//!
//! ```
//! use oauth2_filter_core::{
//!     Action, Context, Environment, Fields, Filter, Input, NotWritten, Output, SharedData, SharedStore,
//!     Step, StreamId, Timestamp,
//! };
//!
//! /// Shared data of a host that has none.
//! struct Absent;
//!
//! impl SharedData for Absent {
//!     fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
//!         None
//!     }
//!     fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<(), NotWritten> {
//!         Err(NotWritten::Refused)
//!     }
//! }
//!
//! let document = br#"{"inbound": {"introspection": {
//!     "endpoint": "https://as.example.com/introspect", "cluster": "as",
//!     "client_id": "orders-api", "client_secret": {"env": "ORDERS_API_SECRET"}
//! }}}"#;
//! let variable = |name: &str| (name == "ORDERS_API_SECRET").then(|| "secret".to_owned());
//! let environment = Environment::new(&variable, [0; 16]); // random bytes in a real host
//! let (mut filter, _warnings) = Filter::load(document, &environment)?;
//!
//! let store = SharedStore::new(&Absent);
//! let context = Context { now: Timestamp::from_millis(0), store: &store };
//! let head = Fields::from_iter([(":method", "GET"), (":path", "/")]);
//! let mut output = Output::default();
//! let step = filter.handle(Input::Request(StreamId(1), &head), context, &mut output);
//! let Step::Decided(verdict) = step else { panic!("without a token there is nothing to wait for") };
//! let Action::Respond(reply) = verdict.action else { panic!("a token is required") };
//! assert_eq!((reply.status, reply.details), (401, "oauth2_no_token"));
//! # Ok::<_, oauth2_filter_core::ConfigErrors>(())
//! ```
//!
//! Out of scope: sockets, TLS, timeouts and retries, which are Envoy's, and clocks and randomness,
//! which are arguments.

#![forbid(unsafe_code)]
// Tests may unwrap; the filter may not, because a panic takes down the whole VM with every request
// in it.
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
mod jose;
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

pub use cache::identity::{Fingerprint, Identity};
pub use cache::single_flight::{CallId, StreamId};
pub use config::{ConfigError, ConfigErrors};
#[cfg(feature = "review")]
pub use config::{DefaultValue, KEY_TABLES, KeyRow, KeyTable, Review, review, schema};
pub use decider::Decider;
pub use environment::Environment;
#[cfg(feature = "review")]
pub use explain::{Explanation, IssuerNeeds, Jwt, TokenNeeds};
pub use fetcher::Fetcher;
pub use filter::{Configuration, Filter};
pub use http::body::{Body, Message};
pub use http::head::{Fields, Head, is_grpc_type};
pub use http::protobuf;
pub use ids::{ClientId, HeaderId, IssuerId, ServerId};
pub use jose::algorithm::{KeyType, SignatureAlgorithm, ecdsa_to_der};
pub use jose::jwk::{BadKey, PublicKey};
#[cfg(feature = "review")]
pub use jose::verify::is_example;
pub use jose::verify::{Verify, VerifyError};
pub use lookup::{Lookups, Resolved};
pub use metrics::client::{ClientEvent, ClientGauge, InjectionResult, TokenEvent};
pub use metrics::keys::KeyEvent;
pub use metrics::labels::Labels;
pub use metrics::{
    CALL_TIME, Counter, Decision, Event, KEY_CALL_TIME, Lookup, TOKEN_CALL_TIME, WAITING,
    claims_dropped,
};
pub use oauth::cached_token::CachedToken;
pub use oauth::call::{Answer, Call, CallFailure, MAX_BODY, Purpose, TokenUse};
pub use oauth::claim_header::{DropCause, Dropped};
pub use oauth::client_assertion::{Algorithm, Sign, SignError};
pub use oauth::denial::Reply;
pub use oauth::failure::Failure;
pub use oauth::outcome::CallOutcome;
pub use oauth::reason::Reason;
pub use oauth::secret::{OpenSecret, SecretPlace, SecretSource};
pub use oauth::sender_constraint::digest_from_hex;
pub use run::{Context, Input, Output, Run, Step};
pub use store::shared::SharedStore;
pub use store::shared_data::SharedData;
pub use store::{
    Acquire, CachedResponse, ClientKey, Lease, LeaseKey, LeaseOwner, MAX_CLOCK_SKEW, NotWritten,
    ResponseKey, Store, Stored, TokenKey, Version,
};
pub use timestamp::Timestamp;
pub use verdict::{Action, Attributes, Forward, Verdict};
