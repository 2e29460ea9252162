//! oauth2-filter as an Envoy dynamic module: the same [core](oauth2_filter_core) as in the
//! WebAssembly module, as native code in the proxy's process.
//!
//! Each worker thread has a [`Decider`](oauth2_filter_core::Decider) for each configuration, which
//! decides on requests at once or has them wait. What they wait for is obtained by one
//! [`Fetcher`](oauth2_filter_core::Fetcher) for each configuration, on Envoy's main thread, the only
//! one from which calls that outlive a request can be made. Between them are queues, and Envoy's
//! schedulers, which have the other thread look into its queue.
//!
//! All unsafe code is in `abi` (the functions of Envoy), `envoy` (their safe wrappers) and `hooks`
//! (the functions that Envoy calls). No panic leaves a hook: the request is denied, and the state in
//! which the panic occurred is replaced.

#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]
#![warn(unreachable_pub)]

mod abi;
mod callers;
mod envoy;
mod fetching;
mod filter;
mod hooks;
mod locked;
mod logger;
mod main_thread;
mod metrics;
#[cfg(feature = "panic-on-command")]
mod panic_on_command;
mod request;
mod routes;
mod secrets;
mod shared;
mod sign;
mod store;
mod stream;
mod ticker;
mod verify;
mod worker;
