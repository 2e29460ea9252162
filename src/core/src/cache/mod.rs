//! Caching and request coalescing in one worker, and the keys of what workers share.
//!
//! In come keys and values of other modules; out come the values, or the requests that wait for them. Nothing
//! here knows what a value means.

pub(crate) mod footprint;
pub(crate) mod identity;
pub(crate) mod local;
pub(crate) mod single_flight;
