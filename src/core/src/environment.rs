//! What a host gives to a configuration that is loaded.

use std::fmt;

use crate::oauth::client_assertion::Sign;

/// What a host gives to a configuration that is loaded.
pub struct Environment<'a> {
    /// The VM's environment variables, for secrets.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Random bytes that nobody else knows.
    pub seed: [u8; 16],
    /// Signs client assertions.
    pub sign: Sign,
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
