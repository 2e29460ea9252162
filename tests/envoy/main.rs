//! The filter in the real Envoy, over TCP on loopback.

mod bodies;
mod clients;
#[path = "../exchanges/mod.rs"]
mod exchanges;
mod leaving;
mod logs;
mod plugin;
mod roots;
mod servers;
mod set_up;
mod sharing;
mod standards;
mod table;
mod updates;
mod waiting;
