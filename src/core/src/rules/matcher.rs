//! Which requests a rule is for. The first that fits decides: see [`index`](super::index).

use crate::http::authority::HostPattern;
use crate::http::path::PathPattern;

/// Which requests a rule is for: each list that is given must fit.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    /// Any of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
    /// Any of these methods.
    pub(crate) methods: Option<Vec<Box<str>>>,
    /// Any of these paths.
    pub(crate) paths: Option<Vec<PathPattern>>,
}
