//! The filter in the real Envoy, over TCP on loopback.

#[path = "../exchanges/mod.rs"]
mod exchanges;
mod roots;
mod table;
