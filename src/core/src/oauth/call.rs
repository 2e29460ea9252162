//! Calls to an authorization server, and their responses.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::local::CacheKey;
use crate::cache::single_flight::CallId;
use crate::ids::ClientId;

/// The maximum size of a response body of an authorization server.
pub const MAX_BODY: usize = 1 << 20;

/// An HTTP request to be sent to a cluster.
#[derive(Clone)]
pub struct Call {
    /// Identifies the call in its result.
    pub id: CallId,
    /// The Envoy cluster of the endpoint.
    pub cluster: Arc<str>,
    /// The headers, pseudo-headers first.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// The form; empty for a GET.
    pub body: String,
    /// For the whole call, including retries; never zero.
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
    /// The keys of an issuer are fetched (RFC 7517, section 5), or its metadata (RFC 8414).
    Keys,
}

/// The token with which a request was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenUse {
    pub(crate) client: ClientId,
    pub(crate) number: u64,
    /// The key of the caller's token that it was exchanged for.
    pub(crate) subject: Option<CacheKey>,
}

/// Headers and body contain tokens and client secrets, so neither is displayed.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// A response of the server itself, not of the proxy on its behalf.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The unparsed value of `Retry-After`.
    pub retry_after: Option<Vec<u8>>,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

/// The body may contain claims, so it is not displayed.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallFailure {
    /// The proxy has no cluster of that name; it may be added later.
    UnknownCluster,
    /// The request was not sent: no healthy host, or the circuit breaker is open.
    NotSent,
    /// The connection failed, or was closed before the response was complete.
    Unreachable,
    /// There was no complete response in time.
    Timeout,
    /// The body is larger than [`MAX_BODY`].
    TooLarge,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownCluster => "unknown cluster",
            Self::NotSent => "not sent: no healthy host, or circuit breaker open",
            Self::Unreachable => "connection failed or closed",
            Self::Timeout => "timed out",
            Self::TooLarge => "response larger than 1 MiB",
        })
    }
}
