//! A token that is being obtained, and what comes of an attempt.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::single_flight::CallId;
use crate::oauth::call::Call;
use crate::oauth::failure::Failure;
use crate::outbound::client::TokenRequest;
use crate::outbound::client_token::AccessToken;
use crate::outbound::exchange::Subject;
use crate::timestamp::Timestamp;

/// How much longer than a call its lease lasts: until the answer has been taken in.
pub(super) const LEASE_GRACE: Duration = Duration::from_secs(1);

/// A token that is being obtained.
pub(super) struct Flight {
    /// For this client.
    pub(super) client: usize,
    /// For this caller's token.
    pub(super) subject: Option<Subject>,
    /// Who makes the call.
    pub(super) maker: Maker,
    /// When the call was made.
    pub(super) since: Timestamp,
    /// Calls to be made with the token.
    pub(super) calls: Vec<Call>,
    /// Exchanges to be made with the token as the actor's.
    pub(super) exchanges: Vec<CallId>,
}

/// Who makes the call for a token.
pub(super) enum Maker {
    /// This worker.
    Here(Task),
    /// Another worker, whose lease or marker stands.
    Elsewhere,
}

/// A call of this worker.
pub(super) struct Task {
    /// What it sends.
    pub(super) request: TokenRequest,
    /// What allows it.
    pub(super) permit: Permit,
}

/// What allows a worker to make a call, and is given back after it.
#[derive(Clone, Copy)]
pub(super) enum Permit {
    /// The lease of this number, in the client's record.
    Lease(u64),
    /// The marker of an exchange that was put up then.
    Marker(Timestamp),
    /// None: other workers have written all the time, so that no marker could be put up.
    Unmarked,
}

/// What there is in answer to the wish for a token.
pub(super) enum Found {
    /// This one.
    Token(Arc<AccessToken>),
    /// It is being obtained.
    Wait(CallId),
    /// None.
    Failed(Failure),
}

/// What comes of an attempt to obtain a token.
pub(super) enum Attempt {
    /// There is one now.
    Token(Arc<AccessToken>),
    /// Another worker obtains it.
    Busy,
    /// It is too early.
    Failed(Failure),
    /// This worker may call.
    Ours(Task),
}
