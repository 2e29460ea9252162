//! The services of a host for loading a configuration.

use std::fmt;

#[cfg(feature = "review")]
use crate::jose::verify::is_example;
use crate::jose::verify::{Verify, VerifyError};
use crate::oauth::client_assertion::{Sign, SignError};

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

impl<'a> Environment<'a> {
    /// The services of a host that neither signs nor verifies.
    pub fn new(variable: &'a dyn Fn(&str) -> Option<String>, seed: [u8; 16]) -> Self {
        Self {
            variable,
            seed,
            sign: |_, _, _| Err(SignError::Absent),
            verify: |_, _, _, _| Err(VerifyError::Failed),
            reads_jwt_authn: false,
        }
    }

    /// The services of a host that is only pretended, for loading documents that no request follows:
    /// any key signs, and what the filter tries at load is verified.
    #[cfg(feature = "review")]
    pub fn pretended(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            sign: |_, _, _| Ok(vec![1; 256]),
            verify: |_, _, text, _| Ok(is_example(text)),
            reads_jwt_authn: true,
            ..Self::new(variable, [0; 16])
        }
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
