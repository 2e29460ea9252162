//! The services of a host for loading a configuration.

use std::fmt;

use crate::jose::verify::Verify;
use crate::oauth::client_assertion::Sign;

/// The services of a host for loading a configuration.
pub struct Environment<'a> {
    /// Reads an environment variable of the VM, for secrets.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Secret random bytes, from which cache keys and random numbers are derived.
    pub seed: [u8; 16],
    /// Signs client assertions (RFC 7523, section 2.2).
    pub sign: Sign,
    /// Verifies the signatures of tokens (RFC 7515, section 5.2).
    pub verify: Verify,
    /// Whether heads have the metadata that Envoy's filter `jwt_authn` writes
    /// ([`Head::jwt_authn`](crate::Head::jwt_authn)).
    pub reads_jwt_authn: bool,
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
