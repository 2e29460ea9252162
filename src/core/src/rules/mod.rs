//! Which rule decides: conditions on host, method and path, and the index that finds the first that fits.
//!
//! In comes a request target of `http`; out comes a rule, or that none can be told. Nothing here knows
//! what rules are for.

pub(crate) mod index;
pub(crate) mod matcher;
mod set;
pub(crate) mod target;
