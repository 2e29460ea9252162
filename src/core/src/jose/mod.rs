//! JSON Web Signatures (RFC 7515) and the public keys that verify them (RFC 7517, RFC 7518).
//!
//! What a host's cryptography does not check is checked here: which algorithm a key is for, sizes
//! of keys and signatures, curves, and everything about JSON.

pub(crate) mod algorithm;
mod der;
pub(crate) mod jwk;
pub(crate) mod jws;
pub(crate) mod key_set;
#[cfg(test)]
mod tests;
pub(crate) mod upkeep;
pub(crate) mod verify;
