//! The requests that a rule matches. The first rule that matches decides: see
//! [`index`](super::index).

use crate::http::authority::HostPattern;
use crate::http::path::PathPattern;

/// The requests that a rule matches: all given lists must match.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    /// Any of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
    /// Any of these methods.
    pub(crate) methods: Option<Vec<Box<str>>>,
    /// Any of these paths.
    pub(crate) paths: Option<Vec<PathPattern>>,
}
