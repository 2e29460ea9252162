//! The lookups under way, and the stage of each.

use crate::cache::identity::Fingerprint;
use crate::cache::single_flight::CallId;
use crate::ids::{ClientId, IssuerId};
use crate::lookup::{Introspect, Subject};
use crate::oauth::call::TokenUse;
use crate::outbound::client::TokenRequest;
use crate::store::{Lease, LeaseOwner};
use crate::timestamp::Timestamp;

/// A lookup that is under way.
pub(super) enum Progress {
    Introspection(Introspection),
    ClientToken(Obtaining),
    Exchange(Exchange),
    Keys(KeyFetch),
}

/// The fetch of an issuer's keys.
#[derive(Clone, Copy)]
pub(super) struct KeyFetch {
    pub(super) issuer: IssuerId,
    pub(super) stage: KeyStage,
    /// When the call began.
    pub(super) since: Timestamp,
}

/// The document that is being fetched.
#[derive(Clone, Copy)]
pub(super) enum KeyStage {
    /// The metadata of the issuer, at this one of its places.
    Metadata(usize),
    /// The keys.
    Keys,
}

/// The lease on a call; `None` if no lease could be acquired or none is needed.
pub(super) type Permit = Option<LeaseOwner>;

pub(super) struct Introspection {
    pub(super) introspect: Introspect,
    /// Identifies the response in the store.
    pub(super) fingerprint: Fingerprint,
    pub(super) stage: IntrospectionStage,
}

pub(super) enum IntrospectionStage {
    /// Another worker makes the call, since this time.
    Following(LeaseOwner, Timestamp),
    /// This worker makes the call, once the token that authorizes it is available.
    Leading(IntrospectionCall),
    /// The call is under way, authorized with this token.
    Calling(IntrospectionCall, Option<TokenUse>),
}

impl IntrospectionStage {
    /// When the call began.
    pub(super) fn since(&self) -> Timestamp {
        match self {
            Self::Following(_, since) => *since,
            Self::Leading(call) | Self::Calling(call, _) => call.since,
        }
    }
}

/// A call that this worker makes.
#[derive(Clone, Copy)]
pub(super) struct IntrospectionCall {
    pub(super) permit: Permit,
    /// When this worker began to lead the lookup.
    pub(super) since: Timestamp,
    /// Whether the call is made for the second time, with another token.
    pub(super) again: bool,
}

/// The lookup of a client's token.
pub(super) struct Obtaining {
    pub(super) client: ClientId,
    pub(super) stage: ObtainingStage,
    /// The lookups whose calls need the token.
    pub(super) dependents: Vec<CallId>,
}

pub(super) enum ObtainingStage {
    /// Another worker makes the call.
    Following,
    /// The call is under way.
    Calling(TokenCall),
}

/// A call for a client's token.
pub(super) struct TokenCall {
    pub(super) lease: Lease,
    pub(super) request: TokenRequest,
    pub(super) since: Timestamp,
}

/// The lookup of a token in exchange for a caller's.
pub(super) struct Exchange {
    pub(super) client: ClientId,
    pub(super) subject: Subject,
    /// Identifies the record in the store.
    pub(super) fingerprint: Fingerprint,
    pub(super) stage: ExchangeStage,
}

pub(super) enum ExchangeStage {
    /// Another worker makes the call.
    Following(LeaseOwner),
    /// This worker makes the call, once the actor's token is available if there is one.
    Leading(Permit),
    /// The call has been under way since this time, with the actor's token of this number.
    Calling(Permit, Timestamp, Option<u64>),
}
