//! What is known of a caller's token.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::oauth::introspection::IntrospectedToken;
use crate::oauth::reason::Reason;

/// Name and value of filter state that a token gives.
pub(crate) type TokenAttribute = (&'static str, Arc<str>);

/// Names and values of headers, which requests with the same token share.
pub(crate) type SharedHeaders = Arc<[(Arc<str>, Arc<str>)]>;

/// What is known of a token.
#[derive(Clone, Debug)]
pub(crate) enum TokenState {
    /// It is active: it is judged by each rule.
    Active(Arc<ActiveToken>),
    /// It is rejected, whatever the rule.
    Rejected(Reason),
}

/// A token that may pass, as it is cached.
#[derive(Clone, Debug)]
pub(crate) struct ActiveToken {
    /// What is judged.
    pub(crate) token: IntrospectedToken,
    /// The headers that its requests get.
    pub(crate) headers: SharedHeaders,
    /// What its requests get as filter state, besides rule and decision.
    pub(crate) attributes: Arc<[TokenAttribute]>,
    /// Whether the response is served stale because the server fails.
    pub(crate) stale: bool,
}

impl Footprint for ActiveToken {
    fn owned_bytes(&self) -> usize {
        let Self { token, headers, attributes, stale: _ } = self;
        let owned: [&dyn Footprint; 3] = [token, headers, attributes];
        owned.iter().map(|part| part.owned_bytes()).fold(size_of::<Self>(), usize::saturating_add)
    }
}
