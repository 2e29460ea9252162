//! What a service makes of a request.

use std::fmt;

use oauth2_filter_testbed::client::Response;
use serde_json::Value;

/// What a service has read, by its own parsers.
pub struct Reading(Value);

impl Reading {
    /// The reading in an answer, if a service has answered.
    pub fn of(answer: &Response) -> Option<Self> {
        // A tunnel has no body to speak of.
        let text = answer.header("x-read").unwrap_or_else(|| answer.text());
        let reading: Value = serde_json::from_str(&text).ok()?;
        reading["service"].is_string().then_some(Self(reading))
    }

    /// The paths that its parsers find, decoded, with slashes merged.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        texts(&self.0["paths"]).map(|path| {
            let mut merged = String::new();
            for character in path.chars() {
                if character != '/' || !merged.ends_with('/') {
                    merged.push(character);
                }
            }
            merged
        })
    }

    /// Whether one of its parsers finds a path in this folder, or the folder itself.
    pub fn is_in(&self, folder: &str) -> bool {
        self.paths().any(|path| is_in(&path, folder))
    }

    /// Whether all of its parsers find a path in this folder.
    pub fn is_nowhere_but_in(&self, folder: &str) -> bool {
        self.paths().all(|path| is_in(&path, folder))
    }

    /// Whether one of its parsers finds this host.
    pub fn is_for(&self, host: &str) -> bool {
        texts(&self.0["hosts"]).any(|read| read.eq_ignore_ascii_case(host))
    }

    /// A header, as its programs ask for it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let variable = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        let headers = &self.0["headers"];
        headers[&variable].as_str().or_else(|| headers[name].as_str())
    }

    /// A trailer, which no program has among its headers.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.0["trailers"][name].as_str()
    }

    /// The route of Envoy that the request took.
    pub fn route(&self) -> Option<&str> {
        self.header("x-route")
    }

    /// A query parameter, be it a list.
    pub fn parameter(&self, name: &str) -> Option<String> {
        text(&self.0["query"][name])
    }

    /// A cookie, be it a list.
    pub fn cookie(&self, name: &str) -> Option<String> {
        text(&self.0["cookies"][name])
    }

    /// The tokens that its libraries take out of `Authorization`.
    pub fn bearer(&self) -> impl Iterator<Item = &str> {
        texts(&self.0["bearer"])
    }

    /// Whether a text is anywhere in its headers.
    pub fn has_in_headers(&self, text: &str) -> bool {
        self.0["headers"].to_string().contains(text)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The texts in a list or an object.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    let object = value.as_object().into_iter().flat_map(|object| object.values());
    list.chain(object).filter_map(Value::as_str)
}

/// A value as text; `None` for one that is not there.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
