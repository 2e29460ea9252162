//! oauth2-filter for proxy-wasm hosts: the module that Envoy loads.
//!
//! The [driver](oauth2_filter_driver) runs the [core](oauth2_filter_core) in any host. What is specific
//! to the ABI is here, and for WebAssembly only: the imported functions (`abi`), the exported ones
//! (`callbacks`), and the log. It makes no decisions.

#![deny(unsafe_code)]
// A panic terminates the whole VM, with every request in it.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]
#![warn(unreachable_pub)]

#[cfg(target_arch = "wasm32")]
mod abi;
#[cfg(target_arch = "wasm32")]
mod callbacks;
#[cfg(target_arch = "wasm32")]
mod logger;
#[cfg(all(target_arch = "wasm32", feature = "panic-on-command"))]
mod panic_on_command;
mod sign;
mod verify;

pub use sign::sign;
pub use verify::verify;
