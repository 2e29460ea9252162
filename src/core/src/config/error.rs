//! What is wrong with a configuration: every mistake at once, each with its place.

use std::fmt;

/// One mistake in the configuration: where it stands and what would be right.
///
/// The text never repeats a value of the document, since any of them may be a secret put in the
/// wrong place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The path to the value, as in `inbound.rules[2].scope`; empty for the document itself.
    pub place: String,
    /// What is wrong and what would be right.
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

/// Every mistake of a refused configuration, in the order of the document's keys; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// One mistake about the document as a whole.
    pub(crate) fn of_document(text: impl Into<String>) -> Self {
        Self(vec![ConfigError { place: String::new(), text: text.into() }])
    }

    /// The mistakes, one by one.
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
