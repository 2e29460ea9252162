//! Responses: of upstream services to requests, and of authorization servers to calls.

use std::borrow::Cow;

use super::interface::{Host, HostError, Map};
use oauth2_filter_core::{Answer, CallFailure, MAX_BODY};

/// A status code.
fn status(value: Option<Cow<'_, [u8]>>) -> Option<u16> {
    std::str::from_utf8(&value?).ok()?.parse().ok()
}

/// The status of the effective context's response.
pub(super) fn upstream_status<H: Host>(host: &H) -> Result<Option<u16>, HostError> {
    Ok(status(host.header(Map::ResponseHeaders, ":status")?))
}

/// Whether the upstream service itself sent the effective context's response, rather than the host.
pub(super) fn is_from_upstream<H: Host>(host: &H) -> bool {
    let details = host.property(&["response", "code_details"]).ok().flatten();
    details.is_none_or(|details| *details == *b"via_upstream")
}

/// Keeps the response to a request whose token was in its query out of shared caches (RFC 6750,
/// section 2.3). Stricter directives of the upstream service remain.
pub(super) fn mark_private<H: Host>(host: &H) -> Result<(), HostError> {
    let read = host.header(Map::ResponseHeaders, "cache-control");
    // An unreadable value may contain stricter directives, which must remain.
    let sent = read.as_ref().map_or(Some(&b"no-store"[..]), Option::as_deref);
    let sent = String::from_utf8_lossy(sent.unwrap_or_default()).to_ascii_lowercase();
    let directives = || sent.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if read.is_ok() && directives().any(|d| d == "no-store" || d == "private") {
        return Ok(());
    }
    let is_kept = |directive: &&str| *directive != "public" && !directive.starts_with("s-maxage");
    let value: Vec<&str> = ["private"].into_iter().chain(directives().filter(is_kept)).collect();
    host.set_header(Map::ResponseHeaders, "cache-control", &value.join(", "))?;
    read.map(|_| ())
}

/// The response to a call, as a host delivers it.
pub trait CallResponse {
    /// One value of its headers.
    ///
    /// # Errors
    /// The host does not return it.
    fn header(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>, HostError>;

    /// The size of its body, in bytes.
    fn body_size(&self) -> usize;

    /// Its body.
    ///
    /// # Errors
    /// The host does not return it.
    fn body(&self) -> Result<Vec<u8>, HostError>;
}

/// The result of a call to which a response was announced.
///
/// # Errors
/// The host does not return the response.
pub fn call_result(response: &impl CallResponse) -> Result<Result<Answer, CallFailure>, HostError> {
    let header = |name| response.header(name);
    let Some(status) = status(header(":status")?) else {
        return Ok(Err(CallFailure::Unreachable));
    };
    // Envoy adds this to responses of an upstream, not to its own.
    if status >= 500 && header("x-envoy-upstream-service-time")?.is_none() {
        return Ok(Err(match status {
            // The circuit breaker of the cluster is open: the request was not sent.
            _ if header("x-envoy-overloaded")?.is_some() => CallFailure::NotSent,
            504 => CallFailure::Timeout,
            _ => CallFailure::Unreachable,
        }));
    }
    let body = match response.body_size() {
        // Of any other response the status is all that matters.
        _ if !matches!(status, 200 | 201 | 400 | 401 | 403) => Vec::new(),
        0..=MAX_BODY => response.body()?,
        _ => return Ok(Err(CallFailure::TooLarge)),
    };
    let retry_after = header("retry-after")?.map(Cow::into_owned);
    Ok(Ok(Answer { status, retry_after, body }))
}
