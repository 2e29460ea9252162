//! What is remembered: the cache of one worker, records that all workers share, and requests that wait for one call.
//!
//! In come keys and values of other modules; out come the values, or leave to obtain them. Nothing here knows
//! what a value means.

pub(crate) mod footprint;
pub(crate) mod local;
pub(crate) mod record;
pub(crate) mod sealed;
pub(crate) mod shared;
pub(crate) mod single_flight;
pub(crate) mod store;
