//! Header fields in the order in which they came, names and values as bytes.

use std::fmt;

use hyper::HeaderMap;

/// A list of header (or trailer) fields; repeated names stay apart.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// No fields.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), value.into()));
    }

    /// The value of the first field of this name (in any case), as [`text`].
    pub fn get(&self, name: &str) -> Option<String> {
        self.all_bytes(name).next().map(text)
    }

    /// The values of all fields of this name, in order, as [`text`].
    pub fn all(&self, name: &str) -> Vec<String> {
        self.all_bytes(name).map(text).collect()
    }

    /// The values of all fields of this name, in order, byte for byte.
    pub fn all_bytes(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.all_bytes(name).next().is_some()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

/// Fields of one name stand together here: hyper keeps them so.
impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        Self(map.iter().map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, text(value)))).finish()
    }
}

/// A field value as text: UTF-8 as it is, anything else with each byte as the character of that
/// number (ISO 8859-1), so that no byte is lost.
pub fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().copied().map(char::from).collect(),
    }
}
