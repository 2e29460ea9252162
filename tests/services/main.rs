//! Real services behind the filter in the real Envoy: what they receive, and how they read it.
//!
//! A request may be forwarded only as every service understands it. So these tests look at the
//! readings of the services, not at which requests the filter refuses. Each of them also has ordinary
//! requests that must arrive, so that none holds because everything is refused.

mod bearer;
mod claims;
mod hosts;
mod injected;
mod paths;
mod reading;
mod reserved;
mod services;
mod set_up;
mod sources;
mod tunnels;
