//! The requests that a rule matches. The first rule that matches decides: see
//! [`index`](super::index).

use std::sync::Arc;

use crate::http::authority::HostPattern;
use crate::http::path::PathPattern;
use crate::rules::header::HeaderTest;

/// The requests that a rule matches: all given lists must match.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    /// Any of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
    /// Any of these methods; `GET` includes `HEAD`.
    pub(crate) methods: Option<Vec<Box<str>>>,
    /// Any of these paths.
    pub(crate) paths: Option<Vec<PathPattern>>,
    /// All of these.
    pub(crate) headers: Arc<Vec<HeaderTest>>,
}

/// Whether a listed method matches `method`.
#[cfg(any(test, feature = "review"))]
pub(crate) fn method_matches(listed: &str, method: &str) -> bool {
    listed == method || (listed, method) == ("GET", "HEAD")
}
