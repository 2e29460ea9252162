//! What is known of a caller's token that is to be exchanged.

/// What is known of a caller's token that is to be exchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// The authorization server reports it as active.
    Active,
    /// It was not introspected, or the response was served stale.
    Unknown,
}
