//! What the filter is tried against: an authorization server, an upstream, Envoy, and a client.
//!
//! | module | is |
//! | --- | --- |
//! | [`authorization_server`] | a small, real OAuth 2.0 authorization server, in memory |
//! | [`scripted`] | an authorization server that misbehaves as it is told |
//! | [`upstream`] | a service that shows what reaches it |
//! | [`envoy`] | a real Envoy, its configuration, statistics and logs |
//! | [`examples`] | the servers that the files of `envoy/` are tried with |
//! | [`client`] | an HTTP client that sends exactly what it is told |
//! | [`open_files`] | room for crowds of clients |
//! | `tls` | certificates, and TLS around the others (feature `tls`) |
//!
//! All of it listens on free loopback ports and needs a tokio runtime. A value stops what it
//! started when it is dropped. Tests wait for conditions ([`wait`]), never for time.

#![allow(clippy::missing_panics_doc)] // A panic here ends a test.

pub mod authorization_server;
pub mod client;
pub mod definitions;
pub mod envoy;
pub mod examples;
pub mod headers;
mod http1;
pub mod open_files;
pub mod process;
mod received;
pub mod scripted;
mod service;
#[cfg(feature = "tls")]
pub mod tls;
pub mod upstream;
pub mod wait;

pub use envoy::workspace;
pub use headers::Headers;
pub use received::Received;
