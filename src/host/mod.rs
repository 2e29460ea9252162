//! The adapter between the [`Filter`](crate::Filter) and a proxy-wasm host.
//!
//! [`driver`] knows hosts by a trait only. What is specific to the ABI is for WebAssembly only: the
//! imported functions (`abi`), the exported ones (`callbacks`), and the log.

#[cfg(target_arch = "wasm32")]
mod abi;
#[cfg(target_arch = "wasm32")]
mod callbacks;
pub mod driver;
#[cfg(target_arch = "wasm32")]
mod logger;
#[cfg(all(target_arch = "wasm32", feature = "panic-on-command"))]
mod panic_on_command;
mod sign;

pub use sign::sign;
