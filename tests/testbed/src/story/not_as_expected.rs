//! What a step says when it does not come out right.

use std::{fmt, io};

use crate::client::Response;

/// What did not come out right, in a line.
#[derive(Debug)]
pub struct NotAsExpected(String);

impl NotAsExpected {
    /// In these words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for NotAsExpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for NotAsExpected {
    fn from(error: io::Error) -> Self {
        Self(format!("there is no answer: {error}"))
    }
}

/// Compares; `what` is the subject of the sentence that says what is wrong.
pub fn expect<T: Copy + fmt::Display + PartialEq>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), NotAsExpected> {
    if found == expected {
        Ok(())
    } else {
        Err(NotAsExpected(format!("{what} is {found}, not {expected}")))
    }
}

/// Compares a header; `None` expects that there is none.
pub fn expect_header(
    answer: &Response,
    name: &str,
    expected: Option<&str>,
) -> Result<(), NotAsExpected> {
    let found = answer.headers.all(name).join(", ");
    match expected {
        None if answer.headers.contains(name) => {
            Err(NotAsExpected(format!("there is {name}: {found}")))
        }
        None => Ok(()),
        Some(expected) if answer.headers.contains(name) => expect(name, found.as_str(), expected),
        Some(expected) => Err(NotAsExpected(format!("there is no {name}, expected {expected}"))),
    }
}
