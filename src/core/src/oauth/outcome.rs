//! How a call to an authorization server has ended, in a word: for statistics.

/// How a call has ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
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

impl Outcome {
    /// Each of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Active,
        Self::Inactive,
        Self::Unavailable,
        Self::Timeout,
        Self::RefusedClient,
        Self::BadAnswer,
    ];

    /// In a word.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::RefusedClient => "refused_client",
            Self::BadAnswer => "bad_answer",
        }
    }
}
