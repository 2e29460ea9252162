//! What is being looked up, and how far each lookup has come.

use crate::cache::identity::Fingerprint;
use crate::cache::single_flight::CallId;
use crate::ids::ClientId;
use crate::lookup::{Introspect, Subject};
use crate::oauth::call::TokenUse;
use crate::outbound::client::TokenRequest;
use crate::store::{Lease, LeaseOwner};
use crate::timestamp::Timestamp;

/// A lookup that is under way.
pub(super) enum Progress {
    /// A token is introspected.
    Introspection(Introspection),
    /// A client's token is obtained.
    ClientToken(Obtaining),
    /// A token is exchanged for a caller's.
    Exchange(Exchange),
}

/// The lease on a call; none where no lease could be had, or none is needed.
pub(super) type Permit = Option<LeaseOwner>;

/// A token that is introspected.
pub(super) struct Introspection {
    /// Which token.
    pub(super) introspect: Introspect,
    /// What workers share about it.
    pub(super) fingerprint: Fingerprint,
    /// How far it has come.
    pub(super) stage: IntrospectionStage,
}

/// How far an introspection has come.
pub(super) enum IntrospectionStage {
    /// Another worker makes the call.
    Following(LeaseOwner),
    /// The call is made as soon as the client's token is there that it needs.
    Leading(IntrospectionCall),
    /// The call is under way, with this token.
    Calling(IntrospectionCall, Option<TokenUse>),
}

/// A call of this worker.
#[derive(Clone, Copy)]
pub(super) struct IntrospectionCall {
    /// What allows it.
    pub(super) permit: Permit,
    /// When it began.
    pub(super) since: Timestamp,
    /// Whether it goes for the second time, with another token.
    pub(super) again: bool,
}

/// A client's token that is obtained.
pub(super) struct Obtaining {
    /// The client.
    pub(super) client: ClientId,
    /// How far it has come.
    pub(super) stage: ObtainingStage,
    /// The lookups whose calls need the token.
    pub(super) dependents: Vec<CallId>,
}

/// How far a client's token has come.
pub(super) enum ObtainingStage {
    /// Another worker makes the call.
    Following,
    /// The call is under way.
    Calling(TokenCall),
}

/// A call for a client's token.
pub(super) struct TokenCall {
    /// What allows it.
    pub(super) lease: Lease,
    /// What it sends.
    pub(super) request: TokenRequest,
    /// When it was made.
    pub(super) since: Timestamp,
}

/// A token that is exchanged for a caller's.
pub(super) struct Exchange {
    /// The client.
    pub(super) client: ClientId,
    /// The caller's token.
    pub(super) subject: Subject,
    /// What workers share about it.
    pub(super) fingerprint: Fingerprint,
    /// How far it has come.
    pub(super) stage: ExchangeStage,
}

/// How far an exchange has come.
pub(super) enum ExchangeStage {
    /// Another worker makes the call.
    Following(LeaseOwner),
    /// The call is made as soon as the actor's token is there, if it needs one.
    Leading(Permit),
    /// The call is under way since then.
    Calling(Permit, Timestamp),
}
