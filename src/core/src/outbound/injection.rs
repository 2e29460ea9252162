//! The plan for the outbound token of a request, derived from its head.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::ids::ClientId;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::token_source::Removals;
use crate::verdict::Forward;

/// Whether a request gets a client's token, and how.
#[derive(Debug)]
pub(crate) enum Injection {
    /// The request gets no token. These headers contain the proxy's tokens for another destination
    /// and must be removed.
    Leave(Vec<Arc<str>>),
    Inject(PendingInjection),
}

/// A request that gets a client's token.
#[derive(Debug)]
pub(crate) struct PendingInjection {
    pub(super) client: ClientId,
    /// The caller's token, if it is to be exchanged.
    pub(super) subject: Presentation,
    /// Removes the caller's token from the request.
    pub(super) removals: Option<Removals>,
    /// Whether the caller has set the header of the token, and its value is not to be replaced.
    pub(super) own_header: bool,
    /// Headers with the proxy's tokens for another destination, which must be removed.
    pub(super) leaked_headers: Vec<Arc<str>>,
    /// Further changes: other spellings of the header are removed, and the next hop is not asked to
    /// remove the header (`Connection`).
    pub(super) clean: Option<Box<Forward>>,
    /// Whether it is a gRPC request; determined only for requests that may be denied later.
    pub(super) grpc: bool,
}

/// The caller's token, for a client that exchanges it.
#[derive(Debug)]
pub(super) enum Presentation {
    /// There is no token to exchange.
    Absent,
    Token(Secret),
    /// There is more than one token, or it cannot be removed.
    Ambiguous(Reason),
}

impl Injection {
    /// Reads from the head what is needed when it is no longer available.
    pub(crate) fn without_head(self, head: &dyn Head) -> Self {
        match self {
            Self::Inject(pending) => Self::Inject(pending.without_head(head)),
            Self::Leave(leaked_headers) => Self::Leave(leaked_headers),
        }
    }
}

impl Footprint for Injection {
    fn owned_bytes(&self) -> usize {
        let owned = match self {
            // The names belong to the configuration.
            Self::Leave(_) => 0,
            Self::Inject(pending) => pending.owned_bytes(),
        };
        owned.saturating_add(size_of::<Self>())
    }
}

impl PendingInjection {
    /// Like [`Injection::without_head`].
    pub(super) fn without_head(self, head: &dyn Head) -> Self {
        Self { grpc: is_grpc(head), ..self }
    }

    /// The caller's token to exchange.
    pub(super) fn token(&self) -> Option<&Secret> {
        match &self.subject {
            Presentation::Token(token) => Some(token),
            Presentation::Absent | Presentation::Ambiguous(_) => None,
        }
    }
}

impl Footprint for PendingInjection {
    fn owned_bytes(&self) -> usize {
        let subject = self.token().map_or(0, |token| token.reveal().owned_bytes());
        let removals = self.removals.as_ref().map_or(0, Footprint::owned_bytes);
        let clean = self.clean.as_ref().map_or(0, |clean| clean.owned_bytes());
        [removals, clean].into_iter().fold(subject, usize::saturating_add)
    }
}
