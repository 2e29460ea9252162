//! What a request needs on its way out, as its head says.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::ids::ClientId;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::token_source::Removal;
use crate::verdict::Forward;

/// What a request's head says about its way out.
#[derive(Debug)]
pub(crate) enum Injection {
    /// No client's token is for it. These headers of ours must not go where it goes.
    Leave(Vec<Arc<str>>),
    /// It gets a client's token.
    Inject(PendingInjection),
}

/// A request that gets a client's token.
#[derive(Debug)]
pub(crate) struct PendingInjection {
    /// The client.
    pub(super) client: ClientId,
    /// The caller's token, if it is to be exchanged.
    pub(super) subject: Presentation,
    /// What takes that token out of the request.
    pub(super) removal: Option<Removal>,
    /// Whether the caller has set the header.
    pub(super) own_header: bool,
    /// Headers of ours, of another client, that must not go where it goes.
    pub(super) leaked_headers: Vec<Arc<str>>,
    /// What else is taken out of it: other spellings of the header, and what would have the next hop
    /// take the header out.
    pub(super) clean: Option<Box<Forward>>,
    /// Whether it is a gRPC request; looked at if it may have to be told why it is refused.
    pub(super) grpc: bool,
}

/// The caller's token, for a client that exchanges it.
#[derive(Debug)]
pub(super) enum Presentation {
    /// There is none that could be exchanged.
    Absent,
    /// This one.
    Token(Secret),
    /// There is more than one, or it cannot be taken out.
    Ambiguous(Reason),
}

impl Injection {
    /// Takes what is needed later, when the head is gone.
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
    /// The same.
    pub(super) fn without_head(self, head: &dyn Head) -> Self {
        Self { grpc: is_grpc(head), ..self }
    }

    /// The caller's token that is to be exchanged.
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
        let removal = self.removal.as_ref().map_or(0, Footprint::owned_bytes);
        let clean = self.clean.as_ref().map_or(0, |clean| clean.owned_bytes());
        [removal, clean].into_iter().fold(subject, usize::saturating_add)
    }
}
