//! What all workers of a proxy share: introspection responses, access tokens, and leases on obtaining them.
//!
//! In come records under the keys of servers, clients and tokens; out come those that any worker has
//! published. How a host keeps them is behind [`Store`]; [`SharedStore`](shared::SharedStore) keeps them in the shared data of
//! proxy-wasm. Nothing here knows who asks, or decides on a request.

pub(crate) mod record;
pub(crate) mod sealed;
pub(crate) mod shared;
pub(crate) mod shared_data;

use std::time::Duration;

use crate::cache::identity::{Fingerprint, Identity};
use crate::oauth::cached_token::CachedToken;
use crate::oauth::failure::Failure;
use crate::timestamp::Timestamp;

/// How far another worker's clock may be ahead: workers read the clock when they begin. What is from
/// later than that was written before the clock was set back, and is not believed.
pub(crate) const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);

/// What all workers share. Every method may be called by several workers at once.
///
/// A store may lose records at any time, and may refuse to take any: what it has is a cache, and a lease
/// saves calls, but nothing depends on either for being right.
pub trait Store {
    /// The newest response on a token, unless it has expired.
    fn response(&self, key: ResponseKey<'_>, now: Timestamp) -> Option<CachedResponse>;

    /// Shares a response. A rejection takes an earlier one on an active token away.
    fn publish_response(&self, key: ResponseKey<'_>, response: &CachedResponse);

    /// The token that was exchanged for a caller's, unless it has expired.
    fn exchanged_token(&self, key: TokenKey<'_>, now: Timestamp) -> Option<CachedToken>;

    /// Shares a token that was exchanged for a caller's.
    fn publish_exchanged_token(&self, key: TokenKey<'_>, token: &CachedToken, now: Timestamp);

    /// What is known of a client's token, unless that is the version which was `seen`.
    fn client_token(&self, client: &ClientKey, seen: Option<Version>) -> Stored;

    /// Shares what is known of a client's token, in place of the version `over`, and counts a
    /// [change](Self::changes).
    ///
    /// # Errors
    /// Another version is there by now, or the host refuses.
    fn publish_client_token(
        &self,
        client: &ClientKey,
        token: &CachedToken,
        over: Option<Version>,
    ) -> Result<(), NotWritten>;

    /// A number that is another one after each change of what workers share for a client. It is read for
    /// every request, so it must cost next to nothing.
    fn changes(&self, client: &ClientKey) -> Option<Version>;

    /// Counts a change.
    fn count_change(&self, client: &ClientKey);

    /// Acquires a lease, unless `is_known` finds that there is nothing to be obtained, or another worker
    /// has one. A worker that has waited for the lease of `after` waits for no other, and learns whether
    /// the call of that one has failed.
    ///
    /// `is_known` is called between a look at leases and the write, which succeeds only if none has
    /// changed in between: what is published before its lease is released is not overlooked.
    fn acquire(
        &self,
        key: LeaseKey<'_>,
        lease: Lease,
        after: Option<LeaseOwner>,
        now: Timestamp,
        is_known: &mut dyn FnMut() -> bool,
    ) -> Acquire;

    /// Gives a lease back after a call, with why that has failed, for those who wait. Whether it was still
    /// there.
    fn release(
        &self,
        key: LeaseKey<'_>,
        owner: LeaseOwner,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> bool;
}

/// Names a token to a server or a client, for all workers.
#[derive(Clone, Copy, Debug)]
pub struct TokenKey<'a> {
    /// The server or the client.
    pub identity: &'a Identity,
    /// The token.
    pub token: Fingerprint,
}

/// Names a response, and says how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct ResponseKey<'a> {
    /// The server and the token.
    pub token: TokenKey<'a>,
    /// The most responses on active tokens.
    pub max_entries: usize,
    /// The most rejections.
    pub negative_max_entries: usize,
}

/// Names an outbound client, for all workers.
#[derive(Debug)]
pub struct ClientKey {
    /// What its tokens depend on.
    pub identity: Identity,
    /// The name of its token's record.
    pub record: String,
    /// The name of its count of changes.
    pub changes: String,
    /// The name of its lease.
    pub lease: String,
}

impl ClientKey {
    /// The key of a client.
    pub(crate) fn new(identity: Identity) -> Self {
        let name = |kind| format!("oauth2_filter.{}.{kind}.{}", record::VERSION, identity.name());
        let (record, changes, lease) = (name('t'), name('s'), name('l'));
        Self { identity, record, changes, lease }
    }
}

/// What a lease is on.
#[derive(Clone, Copy, Debug)]
pub enum LeaseKey<'a> {
    /// A call about a token.
    Token(TokenKey<'a>),
    /// Obtaining a client's token. No other lease takes its place.
    Client(&'a ClientKey),
}

/// A response that workers share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CachedResponse {
    /// Whether the token is one that may pass.
    pub is_active: bool,
    /// The body of the response.
    pub body: Vec<u8>,
    /// When the server returned it.
    pub at: Timestamp,
    /// When it expires for every purpose.
    pub expires: Timestamp,
}

/// What is known of a client's token.
#[derive(Debug)]
pub enum Stored {
    /// Nothing.
    Absent,
    /// What was seen before.
    Unchanged,
    /// This, in this version.
    Changed(CachedToken, Version),
}

/// A number that is another one after each write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version(pub u32);

/// The right to make a call, which one worker has at a time.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Who has it.
    pub owner: LeaseOwner,
    /// From then on its owner is taken to be dead.
    pub ends: Timestamp,
}

/// Names a lease: a random number that no other has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseOwner(pub u64);

/// What comes of the attempt to acquire a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acquire {
    /// There is nothing to be obtained any more.
    Known,
    /// The lease is ours.
    Ours,
    /// Another worker has one.
    Busy(LeaseOwner),
    /// The call of the lease that was waited for has failed.
    Failed(Failure),
    /// Other workers were faster each time.
    Contended,
    /// The host takes no records.
    Refused,
}

/// Why a record was not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotWritten {
    /// Another worker was faster.
    Lost,
    /// The host refuses.
    Refused,
}
