//! How calls to an authorization server end, for statistics.

use crate::table::table;

table! {
    /// The outcome of a call to an authorization server.
    pub enum CallOutcome {
        /// The token is active.
        Active => &Row { label: "active", of_token_calls: false },
        /// The token is not active.
        Inactive => &Row { label: "inactive", of_token_calls: false },
        /// The server cannot be reached, or cannot answer now.
        Unavailable => &Row { label: "unavailable", of_token_calls: true },
        /// The server did not answer in time.
        Timeout => &Row { label: "timeout", of_token_calls: true },
        /// The server rejected the filter's own request.
        RefusedClient => &Row { label: "refused_client", of_token_calls: true },
        /// The server's response is not one that the protocol allows.
        BadAnswer => &Row { label: "bad_answer", of_token_calls: true },
    }
    /// The row of this outcome.
    fn row() -> &'static Row;
}

/// A row of the table.
struct Row {
    /// The value of the label `outcome`.
    label: &'static str,
    /// Whether it is an outcome of token requests, too.
    of_token_calls: bool,
}

impl CallOutcome {
    /// The value of the label `outcome`.
    pub(crate) const fn label(self) -> &'static str {
        self.row().label
    }

    /// Whether it is an outcome of token requests, too.
    pub(crate) const fn is_of_token_calls(self) -> bool {
        self.row().of_token_calls
    }
}
