//! The messages between the two halves of a filter.
//!
//! A [`Decider`](crate::decider::Decider) looks up what it has not cached; a
//! [`Fetcher`](crate::fetcher::Fetcher) obtains it and reports it to all requests that wait. The
//! halves may run in different threads, so every message can be sent.

use std::sync::Arc;

use crate::cache::age::AgeLimit;
use crate::cache::identity::Fingerprint;
use crate::cache::local::CacheKey;
use crate::cache::single_flight::StreamId;
use crate::ids::{ClientId, IssuerId, ServerId};
use crate::jose::key_set::Key;
use crate::jose::upkeep::KeyNews;
use crate::oauth::access_token::AccessToken;
use crate::oauth::cached_token::CachedToken;
use crate::oauth::call::Call;
use crate::oauth::claim_header::Dropped;
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::standing::Standing;
use crate::oauth::token_state::TokenState;
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

/// The lookups of a decider for its fetcher, in their order.
#[derive(Debug, Default)]
pub struct Lookups(pub(crate) Vec<Lookup>);

impl Lookups {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message from a decider to the fetcher.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// A request needs the introspection response on its token.
    Introspect(StreamId, Introspect),
    /// A request needs keys of an issuer: any, or others than those that it has.
    Keys(StreamId, IssuerId, KeysNeeded),
    /// A request needs a client's token.
    ClientToken(StreamId, ClientId),
    /// A request needs a token in exchange for its caller's.
    ExchangedToken(StreamId, ClientId, Subject),
    /// An exchanged token is due for renewal while it is still usable.
    RenewExchanged(ClientId, Subject),
    /// A client's token was put on a request, so it is worth renewing.
    Used(ClientId),
    /// The upstream service has rejected this token of a client.
    Rejected(ClientId, u64),
    /// The upstream service has rejected an exchanged token, whose record is now this one.
    RejectedExchanged(ClientId, Fingerprint, CachedToken),
}

/// The keys that a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeysNeeded {
    /// Any.
    Any,
    /// Others than those that are known.
    Newer,
}

/// A token to introspect.
#[derive(Debug)]
pub(crate) struct Introspect {
    pub(crate) server: ServerId,
    pub(crate) token: Secret,
    /// The key of the response in the cache; `None` if caching is off, so that requests do not
    /// share a call.
    pub(crate) key: Option<CacheKey>,
    /// The strictest limit of the requests that wait.
    pub(crate) age: AgeLimit,
    /// The key that has signed it, if it is a JWT that the filter verifies, too.
    pub(crate) signer: Option<Signer>,
}

/// The key that has signed a token.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) issuer: IssuerId,
    pub(crate) key: Arc<Key>,
}

/// A caller's token to exchange.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) token: Secret,
    /// The key of the exchanged token in the cache.
    pub(crate) key: CacheKey,
    /// When the caller's token expires, if known.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) standing: Standing,
    /// How many tokens in a row that were exchanged for this one were rejected, including the last
    /// one.
    pub(crate) drops: u32,
}

/// The result of a lookup, from the fetcher to the deciders.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The requests that waited, in their order.
    pub(crate) streams: Vec<StreamId>,
    pub(crate) found: Found,
}

impl Resolved {
    /// The requests that waited, in their order.
    pub fn streams(&self) -> &[StreamId] {
        &self.streams
    }

    /// Whether all deciders have to know it, even those without such a request.
    pub fn is_for_all(&self) -> bool {
        matches!(self.found, Found::Keys(..))
    }

    /// Whether nobody needs to know an earlier result any more.
    pub fn replaces(&self, earlier: &Self) -> bool {
        match (&self.found, &earlier.found) {
            (Found::Keys(issuer, _), Found::Keys(other, _)) => {
                issuer == other && earlier.streams.is_empty()
            }
            _ => false,
        }
    }

    /// The same result for some of the requests.
    #[must_use]
    pub fn for_streams(&self, streams: Vec<StreamId>) -> Self {
        Self { streams, found: self.found.clone() }
    }
}

/// The result of a lookup.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// The introspection response on a token.
    Response(Option<CacheKey>, Result<Introspected, Unavailable>),
    /// The keys of an issuer.
    Keys(IssuerId, KeyNews),
    /// A client's token.
    ClientToken(ClientId, Result<Arc<AccessToken>, Failure>),
    /// A token in exchange for a caller's.
    ExchangedToken(ClientId, CacheKey, Result<Box<Exchanged>, Failure>),
}

/// An evaluated introspection response.
#[derive(Clone, Debug)]
pub(crate) struct Introspected {
    pub(crate) state: TokenState,
    /// The headers that are not set although their claims have values.
    pub(crate) dropped: Vec<Dropped>,
    /// When the authorization server returned the response, or the signature was verified.
    pub(crate) at: Timestamp,
    /// The key that has signed the token, if the filter has verified that.
    pub(crate) signer: Option<Signer>,
}

impl Introspected {
    /// A token that no rule accepts.
    pub(crate) fn rejected(reason: Reason, at: Timestamp) -> Self {
        Self { state: TokenState::Rejected(reason), dropped: Vec::new(), at, signer: None }
    }
}

/// A failure to introspect a token.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable {
    pub(crate) failure: Failure,
    /// Whether the server is down for all tokens, so that the request may be forwarded unchecked
    /// where that is configured.
    pub(crate) excused: bool,
    /// The last response that workers share, if it may be served stale: none has seen a later
    /// rejection.
    pub(crate) stale: Option<Box<Introspected>>,
}

/// A token in exchange for a caller's.
#[derive(Clone, Debug)]
pub(crate) struct Exchanged {
    /// The record that workers share.
    pub(crate) record: CachedToken,
    /// Identifies the record in the store.
    pub(crate) fingerprint: Fingerprint,
    /// When the caller's token expires, if known.
    pub(crate) subject_expires: Option<Timestamp>,
}

/// Messages pass between threads.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Lookups>();
    is_shared::<Resolved>();
    is_shared::<Verdict>();
    is_shared::<Call>();
};
