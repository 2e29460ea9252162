//! What the two halves of a filter say to each other.
//!
//! A [`Decider`](crate::decider::Decider) asks for what it does not have; a
//! [`Fetcher`](crate::fetcher::Fetcher) obtains it, and resolves it for all that wait. Both may live in
//! threads of their own: whatever passes between them can be sent.

use std::sync::Arc;

use crate::cache::identity::Fingerprint;
use crate::cache::local::CacheKey;
use crate::cache::single_flight::StreamId;
use crate::ids::{ClientId, ServerId};
use crate::oauth::access_token::AccessToken;
use crate::oauth::cached_token::CachedToken;
use crate::oauth::call::Call;
use crate::oauth::failure::Failure;
use crate::oauth::secret::Secret;
use crate::oauth::token_state::TokenState;
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

/// From a decider to the fetcher.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A request needs to know what a server says about its token.
    Introspect(StreamId, Introspect),
    /// A request needs a client's token.
    ClientToken(StreamId, ClientId),
    /// A request needs a token in exchange for its own.
    ExchangedToken(StreamId, ClientId, Subject),
    /// An exchanged token is to be renewed while it still serves.
    RenewExchanged(ClientId, Subject),
    /// A client's token was put on a request, so it is worth renewing.
    Used(ClientId),
    /// The upstream service has rejected this token of a client.
    Rejected(ClientId, u64),
    /// The upstream service has rejected a token that was exchanged: what is known of that now.
    RejectedExchanged(ClientId, Fingerprint, CachedToken),
}

/// A token that is to be introspected.
#[derive(Debug)]
pub(crate) struct Introspect {
    /// The server.
    pub(crate) server: ServerId,
    /// The token.
    pub(crate) token: Secret,
    /// What the response is cached under, unless caching is off: then no request shares the call of another.
    pub(crate) key: Option<CacheKey>,
}

/// A caller's token that is to be exchanged.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The token.
    pub(crate) token: Secret,
    /// What the exchanged token is cached under.
    pub(crate) key: CacheKey,
    /// When it expires, if that is known.
    pub(crate) expires: Option<Timestamp>,
    /// How many tokens in a row that it was exchanged for were rejected, the last one included.
    pub(crate) drops: u32,
}

/// From the fetcher to the deciders.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The requests that have waited for it, in their order.
    pub(crate) streams: Vec<StreamId>,
    /// What was looked up.
    pub(crate) found: Found,
}

/// What was looked up.
#[derive(Debug)]
pub(crate) enum Found {
    /// What a server says about a token.
    Response(Option<CacheKey>, Result<Introspected, Unavailable>),
    /// A client's token.
    ClientToken(ClientId, Result<Arc<AccessToken>, Failure>),
    /// A token in exchange for a caller's.
    ExchangedToken(ClientId, CacheKey, Result<Exchanged, Failure>),
}

/// What a server has said about a token.
#[derive(Debug)]
pub(crate) struct Introspected {
    /// What follows from it.
    pub(crate) state: TokenState,
    /// When the server said it.
    pub(crate) at: Timestamp,
}

/// Why nothing is known of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unavailable {
    /// Why the call has failed.
    pub(crate) failure: Failure,
    /// Whether the server is down for everybody, so that the request may be forwarded unchecked where that
    /// is configured.
    pub(crate) excused: bool,
    /// Whether what is cached of the token may be served stale: no worker has heard otherwise.
    pub(crate) may_serve_stale: bool,
}

/// A token in exchange for a caller's.
#[derive(Debug)]
pub(crate) struct Exchanged {
    /// The token, with all that workers share about it.
    pub(crate) record: CachedToken,
    /// What workers share it under.
    pub(crate) fingerprint: Fingerprint,
    /// When the caller's token expires, if that is known.
    pub(crate) subject_expires: Option<Timestamp>,
}

/// Whatever passes between threads can be sent, and shared.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Lookup>();
    is_shared::<Resolved>();
    is_shared::<Verdict>();
    is_shared::<Call>();
};
