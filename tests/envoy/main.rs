//! The filter in the real Envoy, over TCP on loopback.

mod abi;
mod bodies;
mod claims;
mod client_authentication;
mod clients;
mod cors;
mod discovery;
#[path = "../exchanges/mod.rs"]
mod exchanges;
mod exchanging;
mod flood;
mod jwt;
mod killed;
mod leaving;
mod logs;
mod mutual_tls;
mod native;
mod observing;
mod outbound;
mod plugin;
mod recipes;
mod retrying;
mod roots;
mod routes;
mod secrets;
mod series;
mod servers;
mod set_up;
mod shadow;
mod sharing;
mod standards;
mod table;
mod trailers;
mod updates;
mod waiting;
