//! What the filter asks of an authorization server, and what comes back, as values.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::cache::local::Key;
use crate::cache::single_flight::CallId;

/// The largest body that is read from an authorization server.
pub const MAX_BODY: usize = 1 << 20;

/// An HTTP request to be sent to a cluster.
#[derive(Clone)]
pub struct Call {
    /// To be handed back with the outcome.
    pub id: CallId,
    /// The Envoy cluster that serves the endpoint.
    pub cluster: Rc<str>,
    /// The head, pseudo-headers first.
    pub headers: Vec<(Rc<str>, Rc<str>)>,
    /// The form.
    pub body: String,
    /// For the whole exchange, retries included; never zero.
    pub timeout: Duration,
    /// The outbound client whose token the call carries, or is to carry.
    pub(crate) client: Option<usize>,
    /// That token.
    pub(crate) sent: Option<TokenUse>,
    /// Whether it goes for the second time, with another token.
    pub(crate) again: bool,
}

/// A token that a request was sent with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TokenUse {
    /// Whose token.
    pub(crate) client: usize,
    /// Which one.
    pub(crate) number: u64,
    /// Whose it was exchanged for.
    pub(crate) subject: Option<Key>,
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
            Self::UnknownCluster => "unknown cluster",
            Self::NotSent => "not sent: no healthy host, or circuit breaker open",
            Self::Unreachable => "connection failed or closed",
            Self::Timeout => "timed out",
            Self::TooLarge => "response larger than 1 MiB",
        })
    }
}
