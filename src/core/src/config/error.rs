//! Configuration errors: all of them at once, each with its path.

use std::fmt;

/// An error in the configuration: where it is, and what is expected.
///
/// The text never contains a value of the document, because any value may be a misplaced secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The path to the value, as in `inbound.rules[2].scope`; empty for the document itself.
    pub place: String,
    /// What is wrong, and what is expected.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "configuration: {}", self.text)
        } else {
            write!(f, "{}: {}", self.place, self.text)
        }
    }
}

/// All errors of a rejected configuration, in the order of the document; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// An error of the document as a whole.
    pub(crate) fn of_document(text: impl Into<String>) -> Self {
        Self(vec![ConfigError { place: String::new(), text: text.into() }])
    }

    /// The errors.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
