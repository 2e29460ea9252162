//! HTTP: headers, paths, hosts, header names, parameters and URLs.
//!
//! The input is bytes from a client, a server or the configuration; the output is values that every
//! service interprets in the same way, or an error. This module does not depend on OAuth, rules or
//! configurations.

pub(crate) mod authority;
pub(crate) mod base64;
pub(crate) mod body;
pub(crate) mod date;
pub(crate) mod head;
pub(crate) mod header_name;
pub(crate) mod parameter;
pub(crate) mod path;
pub(crate) mod proto_struct;
pub mod protobuf;
pub(crate) mod url;
