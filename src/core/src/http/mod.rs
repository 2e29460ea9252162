//! HTTP as the filter reads it: heads, paths, hosts, header names, parameters and URLs.
//!
//! In come bytes that a client, a server or the operator wrote; out come values that every service reads
//! alike, or an error. Nothing here knows OAuth, rules or configurations.

pub(crate) mod authority;
pub(crate) mod date;
pub(crate) mod head;
pub(crate) mod header_name;
pub(crate) mod parameter;
pub(crate) mod path;
pub(crate) mod url;
