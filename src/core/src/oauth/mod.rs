//! The protocols: tokens and where requests carry them, claims and scopes, calls to an
//! authorization server, and its responses.
//!
//! The input is request headers and responses of authorization servers; the output is typed values,
//! calls and failures. This module depends neither on rules nor on the direction.

pub(crate) mod access_token;
pub(crate) mod back_off;
pub(crate) mod bearer;
pub(crate) mod cached_token;
pub(crate) mod call;
pub(crate) mod claim_header;
pub(crate) mod claims;
pub(crate) mod client_assertion;
pub(crate) mod client_auth;
pub(crate) mod clock_skew;
pub(crate) mod denial;
pub(crate) mod endpoint;
pub(crate) mod explanation;
pub(crate) mod failure;
pub(crate) mod failure_log;
pub(crate) mod introspection;
pub(crate) mod introspection_response;
pub(crate) mod json;
pub(crate) mod key_endpoint;
pub(crate) mod outcome;
pub(crate) mod reason;
pub(crate) mod scope;
pub(crate) mod secret;
pub(crate) mod sender_constraint;
pub(crate) mod standing;
pub(crate) mod token_response;
pub(crate) mod token_source;
pub(crate) mod token_sources;
pub(crate) mod token_state;
