//! How far a caller's token is known to be active.

/// How far a caller's token is known to be active.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The authorization server reports it as active.
    Active,
    /// It was not introspected, or the response is served stale because the server fails.
    Unknown,
}
