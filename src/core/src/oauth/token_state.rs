//! What is known of a caller's token.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::oauth::introspection::IntrospectedToken;
use crate::oauth::reason::Reason;
use crate::oauth::standing::Standing;

/// Name and value of filter state that a token gives.
pub(crate) type TokenAttribute = (&'static str, Arc<str>);

/// Names and values of headers, which requests with the same token share.
pub(crate) type SharedHeaders = Arc<[(Arc<str>, Arc<str>)]>;

/// What is known of a token.
#[derive(Clone, Debug)]
pub(crate) enum TokenState {
    /// It is active: it is judged by each rule.
    Active(Arc<ActiveToken>, Standing),
    /// It is rejected, whatever the rule.
    Rejected(Reason),
}

/// A token that may pass, as it is cached.
#[derive(Debug)]
pub(crate) struct ActiveToken {
    /// What is judged.
    pub(crate) token: IntrospectedToken,
    /// The headers that its requests get.
    pub(crate) headers: SharedHeaders,
    /// What its requests get as filter state, besides rule and decision.
    pub(crate) attributes: Arc<[TokenAttribute]>,
}

impl Footprint for ActiveToken {
    fn owned_bytes(&self) -> usize {
        let Self { token, headers, attributes } = self;
        let owned: [&dyn Footprint; 3] = [token, headers, attributes];
        owned.iter().map(|part| part.owned_bytes()).fold(size_of::<Self>(), usize::saturating_add)
    }
}
