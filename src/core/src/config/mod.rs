//! The configuration: parses a JSON document into a value that is always valid.
//!
//! The input is what the host provides; the output is the configuration of both directions with
//! warnings, or all errors with their paths. This module does not deal with requests.

#[cfg(feature = "review")]
mod advice;
mod client;
mod client_auth;
mod cors;
mod document;
#[cfg(test)]
#[cfg(feature = "review")]
mod documented;
mod endpoint;
mod error;
mod forward;
mod grants;
mod header_tests;
mod inbound;
mod jwt;
#[cfg(feature = "review")]
mod key_table;
#[cfg(feature = "review")]
mod letter_case;
mod lists;
mod load;
mod mcp;
mod metadata;
mod names;
mod notes;
mod outbound;
mod policy;
mod reader;
#[cfg(feature = "review")]
mod review;
#[cfg(feature = "review")]
mod schema;
mod scopes;
mod servers;
mod sources;
#[cfg(feature = "review")]
mod tables;
mod values;

pub use error::{ConfigError, ConfigErrors};
#[cfg(feature = "review")]
pub use key_table::{DefaultValue, KeyRow, KeyTable};
pub(crate) use load::{Config, load, load_with_sources};
#[cfg(feature = "review")]
pub use review::{Review, review};
#[cfg(feature = "review")]
pub use schema::schema;
#[cfg(feature = "review")]
pub use tables::KEY_TABLES;
