//! Caching and request coalescing in one worker, and the keys of what workers share.
//!
//! The input is keys and values; the output is the cached values, or the requests that wait for
//! them. This module does not depend on what a value means.

pub(crate) mod age;
pub(crate) mod footprint;
pub(crate) mod identity;
pub(crate) mod issued;
pub(crate) mod local;
pub(crate) mod single_flight;
