//! What the filter asks of an authorization server, and what comes back, as values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::local::CacheKey;
use crate::cache::single_flight::CallId;
use crate::ids::ClientId;

/// The largest body that is read from an authorization server.
pub const MAX_BODY: usize = 1 << 20;

/// An HTTP request to be sent to a cluster.
#[derive(Clone)]
pub struct Call {
    /// To be handed back with the outcome.
    pub id: CallId,
    /// The Envoy cluster that serves the endpoint.
    pub cluster: Arc<str>,
    /// The head, pseudo-headers first.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// The form.
    pub body: String,
    /// For the whole exchange, retries included; never zero.
    pub timeout: Duration,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A token is introspected (RFC 7662).
    Introspection,
    /// A token is obtained (RFC 6749, section 3.2).
    Token,
}

/// A token that a request was sent with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenUse {
    /// Whose token.
    pub(crate) client: ClientId,
    /// Which one.
    pub(crate) number: u64,
    /// Whose it was exchanged for.
    pub(crate) subject: Option<CacheKey>,
}

/// Head and body carry tokens and client secrets, so neither is shown.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// An answer that came from the server itself, not from the proxy on its behalf.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, as sent.
    pub retry_after: Option<Vec<u8>>,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

/// The body may carry what the token says, so it is not shown.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallFailure {
    /// The proxy has no cluster of that name (now: it may come later).
    UnknownCluster,
    /// The cluster took no request: no host in it, or its circuit breaker is open.
    NotSent,
    /// The connection failed, or broke before the answer was complete.
    Unreachable,
    /// No complete answer in time.
    Timeout,
    /// The body is larger than [`MAX_BODY`].
    TooLarge,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCluster => "the proxy has no such cluster",
            Self::NotSent => "the cluster took no request (no healthy host, or circuit breaker)",
            Self::Unreachable => "no connection, or the connection broke",
            Self::Timeout => "no answer in time",
            Self::TooLarge => "the answer is larger than 1 MiB",
        })
    }
}
