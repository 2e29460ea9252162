//! Which rule decides: conditions on host, method, path and headers, and the index that finds the first rule
//! that matches.
//!
//! The input is a request; the output is a rule, or that none can be determined. This module does
//! not depend on what rules are used for.

pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod matcher;
#[cfg(feature = "review")]
pub(crate) mod near;
mod set;
pub(crate) mod target;
