//! How far requests have come, and what those hold that wait.

use crate::cache::footprint::Footprint;
use crate::cache::local::CacheKey;
use crate::ids::{IssuerId, ServerId};
use crate::inbound::guard::{Bearer, Outcome};
use crate::lookup::{Introspect, Introspected, KeysNeeded};
use crate::oauth::secret::Secret;

/// A decision, or the lookup that it depends on.
pub(crate) enum Progress<D> {
    Decided(D),
    /// The request's token has to be introspected.
    Waiting(Box<Waiter>, Introspect),
    /// The keys of the token's issuer are needed.
    WaitingForKeys(Box<KeyWaiter>, KeysNeeded),
}

impl<D> Progress<D> {
    /// The same with another form of the decision.
    pub(super) fn map<T>(self, form: impl FnOnce(D) -> T) -> Progress<T> {
        match self {
            Self::Decided(decision) => Progress::Decided(form(decision)),
            Self::Waiting(waiter, introspect) => Progress::Waiting(waiter, introspect),
            Self::WaitingForKeys(waiter, needed) => Progress::WaitingForKeys(waiter, needed),
        }
    }
}

/// A request whose token is being introspected.
pub(crate) struct Waiter {
    pub(super) bearer: Bearer,
    pub(super) grpc: bool,
}

impl Footprint for Waiter {
    fn owned_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.bearer.owned_bytes())
    }
}

/// A request that waits for the keys of its token's issuer.
pub(crate) struct KeyWaiter {
    pub(crate) waiter: Waiter,
    pub(crate) issuer: IssuerId,
    /// The server that introspects the token, too.
    pub(super) server: Option<ServerId>,
    pub(super) token: Secret,
    /// The key of the token's state in the cache; `None` if caching is off.
    pub(super) key: Option<CacheKey>,
}

impl Footprint for KeyWaiter {
    fn owned_bytes(&self) -> usize {
        let token = self.token.reveal().len();
        size_of::<Self>().saturating_add(self.waiter.bearer.owned_bytes()).saturating_add(token)
    }
}

/// What the verification of a token without a call has come to.
pub(super) enum Verification {
    /// The state of the token is known: it is to be cached, and the request decided.
    Known(Waiter, Option<CacheKey>, Introspected),
    /// The request is decided or waits, and nothing is to be cached.
    Unknown(Progress<Outcome>),
}
