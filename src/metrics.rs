//! What is counted, as values: the host adds them to the proxy's statistics.

use crate::denial::Reason;

/// Something that has happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A request was decided.
    Request(Decision),
    /// A token was looked for among what is kept.
    Lookup(Lookup),
    /// So many more requests wait; fewer, if negative.
    Waiting(i64),
    /// A call to an introspection endpoint has ended.
    Call(Outcome),
    /// So many milliseconds after it was made.
    CallTime(u64),
}

/// What was decided on a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It passed with a token that meets the rule.
    Allowed,
    /// It passed without a token, as the rule has it.
    Public,
    /// It passed since the authorization server failed, as configured.
    Unchecked,
    /// It was refused.
    Denied(Reason),
    /// It asked for the resource's metadata.
    Metadata,
}

impl Decision {
    /// The decision in a word, for filter state.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Public => "public",
            Self::Unchecked => "unchecked",
            Self::Denied(reason) => reason.details(),
            Self::Metadata => "metadata",
        }
    }
}

/// Where an answer was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// In this worker.
    Hit,
    /// In this worker, and it is a refusal.
    Negative,
    /// In shared data.
    Shared,
    /// Past its time, while the server fails.
    Stale,
    /// Nowhere.
    Miss,
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The token is active.
    Active,
    /// The token is not active.
    Inactive,
    /// The server cannot be reached, or cannot answer now.
    Unavailable,
    /// The server did not answer in time.
    Timeout,
    /// The server refused the filter's own request.
    RefusedClient,
    /// The server's answer was none.
    BadAnswer,
}
