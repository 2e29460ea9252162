//! Storage that all workers of a proxy share: introspection responses, access tokens, and leases on
//! obtaining them.
//!
//! The input is records under the keys of servers, clients and tokens; the output is those that any
//! worker has published. How a host stores them is behind [`Store`];
//! [`SharedStore`](shared::SharedStore) uses the shared data of proxy-wasm. This module depends
//! neither on requests nor on decisions.

pub(crate) mod record;
pub(crate) mod sealed;
pub(crate) mod shared;
pub(crate) mod shared_data;

use std::time::Duration;

use crate::cache::identity::{Fingerprint, Identity};
use crate::oauth::cached_token::CachedToken;
use crate::oauth::failure::Failure;
use crate::timestamp::Timestamp;

/// How far another worker's clock may be ahead, because each worker reads the clock once at the
/// start of a run. A record from later than that was written before the clock was set back, and is
/// ignored.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);

/// Storage that all workers share. Every method may be called by several workers at once.
///
/// A store may lose records at any time and may refuse to write any. Records are a cache, and most leases
/// save calls only. A client's lease also protects its refresh token: if that lease is lost, two workers may
/// send the same one.
pub trait Store {
    /// The newest response on a token, unless it has expired.
    fn response(&self, key: ResponseKey<'_>, now: Timestamp) -> Option<CachedResponse>;

    /// Publishes a response in place of earlier ones, which are also removed if it is too long to be
    /// stored.
    fn publish_response(&self, key: ResponseKey<'_>, response: &CachedResponse);

    /// The token that was exchanged for a caller's, unless it has expired.
    fn exchanged_token(&self, key: TokenKey<'_>, now: Timestamp) -> Option<CachedToken>;

    /// Publishes a token that was exchanged for a caller's.
    fn publish_exchanged_token(&self, key: TokenKey<'_>, token: &CachedToken, now: Timestamp);

    /// The record of a client's token, unless its version is `seen`.
    fn client_token(&self, client: &ClientKey, seen: Option<Version>) -> Stored;

    /// Publishes the record of a client's token in place of the version `over`, and counts a
    /// [change](Self::changes).
    ///
    /// # Errors
    /// Another version has been written meanwhile, or the host refuses.
    fn publish_client_token(
        &self,
        client: &ClientKey,
        token: &CachedToken,
        over: Option<Version>,
    ) -> Result<(), NotWritten>;

    /// A number that changes with each change of a client's records. It is read for every request,
    /// so it must be cheap.
    fn changes(&self, client: &ClientKey) -> Option<Version>;

    /// Counts a change.
    fn count_change(&self, client: &ClientKey);

    /// Acquires a lease, unless `is_known` finds that the call is unnecessary, or another worker
    /// has a lease. A worker that has waited for the lease of `after` waits for no other one, and
    /// learns whether that call has failed.
    ///
    /// `is_known` is called between reading the leases and writing one, and the write succeeds only
    /// if no lease has changed in between. So a result that is published before its lease is
    /// released is never missed.
    fn acquire(
        &self,
        key: LeaseKey<'_>,
        lease: Lease,
        after: Option<LeaseOwner>,
        now: Timestamp,
        is_known: &mut dyn FnMut() -> bool,
    ) -> Acquire;

    /// Releases a lease after a call, with the failure of the call for the workers that wait.
    /// Returns whether the lease was still stored.
    fn release(
        &self,
        key: LeaseKey<'_>,
        owner: LeaseOwner,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> bool;
}

/// Identifies a token of a server or a client across workers.
#[derive(Clone, Copy, Debug)]
pub struct TokenKey<'a> {
    /// The identity of the server or the client.
    pub identity: &'a Identity,
    /// The fingerprint of the token.
    pub token: Fingerprint,
}

/// Identifies a response, and states the capacity for responses.
#[derive(Clone, Copy, Debug)]
pub struct ResponseKey<'a> {
    /// The server and the token.
    pub token: TokenKey<'a>,
    /// The maximum number of responses on active tokens.
    pub max_entries: usize,
    /// The maximum number of negative cache entries.
    pub negative_max_entries: usize,
}

/// Identifies an outbound client across workers.
#[derive(Debug)]
pub struct ClientKey {
    /// Everything that its tokens depend on.
    pub identity: Identity,
    /// The name of the record of its token.
    pub record: String,
    /// The name of its count of changes.
    pub changes: String,
    /// The name of its lease.
    pub lease: String,
}

impl ClientKey {
    pub(crate) fn new(identity: Identity) -> Self {
        let name = |kind| format!("oauth2_filter.{}.{kind}.{}", record::VERSION, identity.name());
        let (record, changes, lease) = (name('t'), name('s'), name('l'));
        Self { identity, record, changes, lease }
    }
}

/// The subject of a lease.
#[derive(Clone, Copy, Debug)]
pub enum LeaseKey<'a> {
    /// A call about a token.
    Token(TokenKey<'a>),
    /// Obtaining a client's token. This lease is never evicted by another one.
    Client(&'a ClientKey),
}

/// A response that workers share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CachedResponse {
    /// Whether the token counts as active.
    pub is_active: bool,
    /// The body of the response.
    pub body: Vec<u8>,
    /// When the authorization server returned it.
    pub at: Timestamp,
    /// When it expires, also for serving it stale.
    pub expires: Timestamp,
}

/// The record of a client's token.
#[derive(Debug)]
pub enum Stored {
    /// There is no record.
    Absent,
    /// The record still has the version that was seen.
    Unchanged,
    /// The record, and its version.
    Changed(CachedToken, Version),
}

/// A number that changes with each write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version(pub u32);

/// The right to make a call, which one worker has at a time.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Identifies the lease.
    pub owner: LeaseOwner,
    /// When its owner is presumed dead.
    pub ends: Timestamp,
}

/// Identifies a lease: a random number that no other lease has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseOwner(pub u64);

/// The result of an attempt to acquire a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acquire {
    /// The call is unnecessary, because its result is known.
    Known,
    /// This worker has the lease.
    Ours,
    /// Another worker has one, since this time.
    Busy(LeaseOwner, Timestamp),
    /// The call under the lease that was waited for has failed.
    Failed(Failure),
    /// Another worker won every attempt.
    Contended,
    /// The host refuses to write records.
    Refused,
}

/// Why a record was not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotWritten {
    /// Another worker has written first.
    Lost,
    /// The host refuses the write.
    Refused,
}
